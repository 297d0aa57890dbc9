"""Organizations and who is in them. Apps above add what they know of an organization to ``facts``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import audit, services, services_organizations, services_people
from accounts.admin_base import AuditedAdmin, WithAudit
from accounts.models import Invitation, Membership, Organization
from accounts.permissions import OrganizationRole
from portal.admin import LookOnlyAdmin, Task, link, link_to_list

MANAGERS = 20
"""How many owners and admins are named on the page."""

Fact = Callable[[Organization], str]
facts: list[Fact] = []
"""Functions, described by ``admin.display``, whose answers the page of an organization shows."""


def _delete(request: HttpRequest, organization: Organization, _: str) -> str:
    services_organizations.delete_organization(actor=audit.staff_of(request), organization=organization)
    return f"{organization} is deleted. Its audit log and its bills stay."


@admin.register(Organization)
class OrganizationAdmin(AuditedAdmin[Organization]):
    """Tenants. Their owners make and delete them; the operator can delete one that nobody is left in."""

    list_display = ["name", "people", "created_at", "deleted_at"]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "id", "memberships__user__email"]
    search_help_text = "Name, id, or the e-mail address of a member"
    date_hierarchy = "created_at"
    ordering = ["name"]
    readonly_fields = ["id", "created_at", "deleted_at", "suspended_at", "who_manages", "all_members"]
    tasks = [
        Task(
            "delete",
            "Delete organization",
            "Its people lose it at once, and its owners are told by mail. Its name is free again; its audit log and "
            "its bills stay. Workspaces and clouds must be deleted before.",
            _delete,
            permission="accounts.delete_organization",
            offered=lambda organization: organization.deleted_at is None,
            danger=True,
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        """With the number of people."""
        return super().get_queryset(request).annotate(member_count=Count("memberships", distinct=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> list[Any]:
        """With what the apps above know. A deleted one keeps the name that it had."""
        gone = ["name"] if obj and obj.deleted_at else []
        return [*gone, *self.readonly_fields, *facts]

    def get_fieldsets(self, request: HttpRequest, obj: Organization | None = None) -> list[Any]:
        """Its own fields first."""
        return [
            (None, {"fields": ["name", "id", "created_at", "deleted_at"]}),
            ("People", {"fields": ["who_manages", "all_members"]}),
            *([("Use", {"fields": facts})] if facts else []),
        ]

    def save_model(self, request: HttpRequest, obj: Organization, form: ModelForm[Organization], change: bool) -> None:
        """By the service, which writes the event."""
        name = form.cleaned_data.get("name", obj.name)
        services_organizations.rename_organization(actor=audit.staff_of(request), organization=obj, name=name)

    def record_save(self, request: HttpRequest, form: ModelForm[Organization], change: bool) -> None:
        """The service did."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Made by people, who come to own them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        """Deleted by owners, after what stands in it."""
        return False

    @admin.display(description="People", ordering="member_count")
    def people(self, organization: Organization) -> int:
        """How many."""
        return int(getattr(organization, "member_count", 0))

    @admin.display(description="Owners and admins")
    def who_manages(self, organization: Organization) -> str:
        """The first few, owners before admins."""
        rows = Membership.objects.in_organization(organization).filter(role__in=["OWNER", "ADMIN"])
        first = sorted(rows[:MANAGERS], key=lambda row: row.role != OrganizationRole.OWNER)
        lines = [(link(row.user), row.user.email, link(row, row.get_role_display())) for row in first]
        if not lines:
            return "Nobody: give somebody a role."
        return format_html('<ul class="facts">{}</ul>', format_html_join("", "<li>{} ({}): {}</li>", lines))

    @admin.display(description="Members")
    def all_members(self, organization: Organization) -> SafeString:
        """The way to all of them: there can be thousands."""
        number = Membership.objects.filter(organization=organization).count()
        return link_to_list(Membership, f"{number} in all", organization__id__exact=organization.pk)


@admin.register(Membership)
class MembershipAdmin(AuditedAdmin[Membership]):
    """Who is in which organization. Staff sets roles where no owner can."""

    list_display = ["user", "email", "organization", "role", "joined_at"]
    list_filter = ["role"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "user__first_name", "user__last_name", "organization__name"]
    autocomplete_fields = ["user", "organization"]
    ordering = ["organization__name", "user__email"]
    fields = ["organization", "user", "role", "joined_at"]
    readonly_fields = ["joined_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        """Only the role changes."""
        return ["organization", "user", "joined_at"] if obj else ["joined_at"]

    def save_model(self, request: HttpRequest, obj: Membership, form: ModelForm[Membership], change: bool) -> None:
        """By the services, which write the events, and keep an owner in each organization."""
        actor, role = audit.staff_of(request), OrganizationRole(form.cleaned_data["role"])
        if change:
            services_people.change_role(actor=actor, organization=obj.organization, user=obj.user, role=role)
        else:
            made = services.add_member(actor=actor, organization=obj.organization, user=obj.user, role=role)
            obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """With what hangs on it, and a mail to the person."""
        actor = audit.staff_of(request)
        services_people.remove_member(actor=actor, organization=obj.organization, user=obj.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Each by itself."""
        for row in queryset.select_related("organization", "user"):
            self.delete_model(request, row)

    def record_save(self, request: HttpRequest, form: ModelForm[Membership], change: bool) -> None:
        """The service did."""

    def record_deletion(self, request: HttpRequest, row: Membership) -> None:
        """The service does."""

    @admin.display(description="E-mail", ordering="user__email")
    def email(self, membership: Membership) -> str:
        """The person's."""
        return membership.user.email


@admin.register(Invitation)
class InvitationAdmin(WithAudit[Invitation], LookOnlyAdmin[Invitation]):
    """Who was invited where, and what became of it. The links exist only in the mail."""

    list_display = ["email", "organization", "workspace", "role", "status", "invited_by", "sent_at", "expires_at"]
    list_filter = ["status", "role"]
    list_select_related = ["organization", "workspace", "invited_by"]
    search_fields = ["email", "organization__name", "invited_by__email"]
    ordering = ["-sent_at"]
    fields = ["email", "organization", "workspace", "role", "workspace_role", "status", "invited_by", "created_at"]
    fields += ["sent_at", "expires_at", "closed_at", "accepted_by"]
    readonly_fields = ["status"]
