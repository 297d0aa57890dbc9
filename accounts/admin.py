"""The operator's view of people and organizations."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from accounts.models import AuditEvent, Membership, Organization, User

admin.site.site_header = admin.site.site_title = "Bodo Cloud Platform"
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # one sign-in, with its limits
admin.site.unregister(Group)


class MembershipInline(admin.TabularInline[Membership, Organization]):
    """The members of an organization."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(admin.ModelAdmin[User]):
    """People."""

    list_display = ["email", "first_name", "last_name", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["email", "first_name", "last_name"]
    readonly_fields = ["password", "last_login", "date_joined", "terms_version", "terms_accepted_at"]
    readonly_fields += ["locked_at", "unlocked_at", "dormancy_warned_at"]


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin[Organization]):
    """Tenants."""

    list_display = ["name", "created_at"]
    search_fields = ["name", "id"]
    inlines = [MembershipInline]


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin[AuditEvent]):
    """What was done; to be read only."""

    list_display = ["at", "organization", "actor_label", "verb", "object_label", "address"]
    list_filter = ["verb", "actor_kind"]
    list_select_related = ["organization"]
    search_fields = ["actor_label", "object_label", "object_id"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody writes here by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody changes the past."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody removes the past."""
        return False
