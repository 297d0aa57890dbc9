"""Sign-ups under way, and what came through AWS Marketplace."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts import audit, services_staff
from accounts.admin_base import WithAudit
from accounts.admin_organizations import facts
from accounts.models import MarketplaceRegistration, MarketplaceSubscription, Organization, PendingSignup
from portal.admin import LookOnlyAdmin, Task, link


def _send_activation(request: HttpRequest, pending: PendingSignup, _: str) -> str:
    services_staff.send_activation_again(actor=audit.staff_of(request), pending=pending)
    return f"The activation link goes to {pending.email} once more."


@admin.register(PendingSignup)
class PendingSignupAdmin(WithAudit[PendingSignup], LookOnlyAdmin[PendingSignup]):
    """Sign-ups whose link was not opened yet, or whose organization is still to be made."""

    list_display = ["created_at", "email", "organization_name", "subscription", "expires_at", "user"]
    list_filter = [("user", admin.EmptyFieldListFilter), ("subscription", admin.EmptyFieldListFilter)]
    list_select_related = ["subscription", "user"]
    search_fields = ["email", "organization_name", "first_name", "last_name"]
    ordering = ["-created_at"]
    fields = ["email", "first_name", "last_name", "organization_name", "terms_version", "subscription", "user"]
    fields += ["created_at", "expires_at"]
    tasks = [
        Task(
            "send-activation",
            "Send activation again",
            "The link goes to the address once more. It works for as long as it would have anyway.",
            _send_activation,
            permission="accounts.change_pendingsignup",
            offered=lambda pending: pending.user_id is None and pending.expires_at > timezone.now(),
            bulk=True,
        )
    ]


@admin.register(MarketplaceSubscription)
class MarketplaceSubscriptionAdmin(WithAudit[MarketplaceSubscription], LookOnlyAdmin[MarketplaceSubscription]):
    """What customers of AWS Marketplace have bought."""

    list_display = ["product_code", "customer", "state", "organization", "sandbox", "created_at", "linked_at"]
    list_filter = ["state", "sandbox"]
    list_select_related = ["organization"]
    search_fields = ["customer", "account_id", "license_arn", "organization__name"]
    ordering = ["-created_at"]


@admin.register(MarketplaceRegistration)
class MarketplaceRegistrationAdmin(LookOnlyAdmin[MarketplaceRegistration]):
    """Buyers who came with a token. The token itself is not kept."""

    list_display = ["created_at", "subscription", "expires_at", "claimed_at"]
    list_filter = [("claimed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["subscription"]
    search_fields = ["subscription__customer", "subscription__product_code"]
    ordering = ["-created_at"]
    fields = ["subscription", "created_at", "expires_at", "claimed_at"]


@admin.display(description="Subscription")
def subscriptions_of(organization: Organization) -> SafeString | str:
    """What was bought for it."""
    rows = MarketplaceSubscription.objects.filter(organization=organization).order_by("-created_at")[:10]
    return format_html_join(", ", "{} ({})", ((link(row), row.get_state_display()) for row in rows)) or "None."


facts.append(subscriptions_of)
