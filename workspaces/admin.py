"""The operator's view of configurations and workspaces."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from workspaces.models import CloudConfiguration, Workspace, WorkspaceMembership


class LookOnly:
    """A deleted row would leak what stands on it, and a saved one would overwrite what a reconciler just wrote."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Made on the organization's own pages."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only to look."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Deleted on the organization's own pages."""
        return False


@admin.register(CloudConfiguration)
class CloudConfigurationAdmin(LookOnly, admin.ModelAdmin[CloudConfiguration]):
    """Connected clouds."""

    list_display = ["name", "organization", "provider", "created_at", "deleted_at"]
    list_filter = ["provider"]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name", "id"]


class WorkspaceMembershipInline(admin.TabularInline[WorkspaceMembership, Workspace]):
    """The members of a workspace."""

    model = WorkspaceMembership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(Workspace)
class WorkspaceAdmin(LookOnly, admin.ModelAdmin[Workspace]):
    """Workspaces, with what their reconciler is at."""

    list_display = ["name", "organization", "cloud_configuration", "status", "target", "due_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["organization", "cloud_configuration"]
    search_fields = ["name", "organization__name", "id"]
    readonly_fields = ["status", "target", "handle", "due_at", "lease_until", "failure_code", "failure_message"]
    inlines = [WorkspaceMembershipInline]
