"""The operator's view of configurations and workspaces."""

from __future__ import annotations

from django.contrib import admin

from workspaces.models import CloudConfiguration, Workspace, WorkspaceMembership


@admin.register(CloudConfiguration)
class CloudConfigurationAdmin(admin.ModelAdmin[CloudConfiguration]):
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
class WorkspaceAdmin(admin.ModelAdmin[Workspace]):
    """Workspaces, with what their reconciler is at."""

    list_display = ["name", "organization", "cloud_configuration", "status", "target", "due_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["organization", "cloud_configuration"]
    search_fields = ["name", "organization__name", "id"]
    readonly_fields = ["status", "target", "handle", "due_at", "lease_until", "failure_code", "failure_message"]
    inlines = [WorkspaceMembershipInline]
