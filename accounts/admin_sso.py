"""Single sign-on: the operator approves domains. The rest is for the organizations' owners, and here to look at."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from accounts import audit, services_sso
from accounts.admin_base import WithAudit
from accounts.models import FormerMember, SsoConnection, SsoDomain, SsoIdentity
from portal.admin import LookOnlyAdmin, Task


def _approve(request: HttpRequest, domain: SsoDomain, _: str) -> str:
    services_sso.approve_domain(actor=audit.staff_of(request), domain=domain)
    return f"Approved for {domain.connection.organization}: {domain}. Its owners were told by mail."


def _withdraw(request: HttpRequest, domain: SsoDomain, _: str) -> str:
    services_sso.withdraw_approval(actor=audit.staff_of(request), domain=domain)
    return f"{domain.connection.organization} no longer speaks for {domain}."


@admin.register(SsoDomain)
class SsoDomainAdmin(WithAudit[SsoDomain], LookOnlyAdmin[SsoDomain]):
    """Domains that organizations asked for. Approving one lets their provider sign in whoever has an address there."""

    list_display = ["domain", "organization", "requested_at", "approved_at", "approved_by"]
    list_filter = [("approved_at", admin.EmptyFieldListFilter)]
    list_select_related = ["connection__organization", "approved_by"]
    search_fields = ["domain", "connection__organization__name"]
    ordering = ["approved_at", "domain"]
    tasks = [
        Task(
            "approve",
            "Approve domain",
            "The organization's provider can then sign in everybody with an address in this domain, and make accounts "
            "for them. Approve it once you have seen proof that the domain is theirs, such as a record in its DNS or a "
            "mail from its postmaster.",
            _approve,
            permission="accounts.change_ssodomain",
            offered=lambda domain: domain.approved_at is None,
        ),
        Task(
            "withdraw",
            "Withdraw approval",
            "Nobody can sign in through the organization's provider with an address in this domain any more. Sessions "
            "go on.",
            _withdraw,
            permission="accounts.change_ssodomain",
            offered=lambda domain: domain.approved_at is not None,
            danger=True,
        ),
    ]

    @admin.display(description="organization", ordering="connection__organization__name")
    def organization(self, domain: SsoDomain) -> str:
        """Who asked."""
        return str(domain.connection.organization)


@admin.register(SsoConnection)
class SsoConnectionAdmin(WithAudit[SsoConnection], LookOnlyAdmin[SsoConnection]):
    """The providers of organizations, without their secrets."""

    list_display = ["organization", "issuer", "enabled", "enforced", "joins"]
    list_filter = ["enabled", "enforced"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "issuer"]
    fields = ["organization", "issuer", "client_id", "enabled", "enforced", "joins", "created_at"]


@admin.register(SsoIdentity)
class SsoIdentityAdmin(LookOnlyAdmin[SsoIdentity]):
    """Whom providers named."""

    list_display = ["user", "connection", "subject", "linked_at", "last_used_at"]
    list_select_related = ["user", "connection__organization"]
    search_fields = ["user__email", "subject"]


@admin.register(FormerMember)
class FormerMemberAdmin(LookOnlyAdmin[FormerMember]):
    """Who left an organization or was removed; single sign-on does not bring them back."""

    list_display = ["user", "organization", "left_at"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "organization__name"]
