"""Pages of instance roles, below the settings of a workspace."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.audit import actor_of
from accounts.permissions import Perm
from portal.errors import UserError
from portal.forms import done, form_response, posted
from workspaces import services_roles as services
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.clouds import cloud_of
from workspaces.forms_roles import InstanceRoleForm
from workspaces.models import InstanceRole, Workspace
from workspaces.views import add_error


def find(workspace: Workspace, instance_role: UUID) -> InstanceRole:
    """A role of this workspace; 404 for any other."""
    return get_object_or_404(InstanceRole.objects.in_workspace(workspace), pk=instance_role)


@workspace_view(Perm.WS_MANAGE)
def roles(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The registered roles."""
    context = {
        "nav": "settings",
        "roles": InstanceRole.objects.in_workspace(workspace).select_related("created_by"),
        "features": cloud_of(workspace.cloud_configuration).features,
    }
    return render(request, "workspaces/instance_roles.html", context)


@workspace_view(Perm.WS_MANAGE)
def role_row(request: WorkspaceRequest, workspace: Workspace, instance_role: UUID) -> HttpResponse:
    """One line of the list, refreshed."""
    return render(request, "workspaces/_instance_role_row.html", {"role": find(workspace, instance_role)})


@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def role_new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Register a role."""
    form = InstanceRoleForm(posted(request), features=cloud_of(workspace.cloud_configuration).features)
    if request.method == "POST" and form.is_valid():
        try:
            services.create_role(actor=actor_of(request), workspace=workspace, **form.cleaned_data)
            return done(request, "workspaces:instance_roles", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/instance_role.html", form, nav="settings")


@workspace_view(Perm.WS_MANAGE, ("POST",))
def role_retry(request: WorkspaceRequest, workspace: Workspace, instance_role: UUID) -> HttpResponse:
    """Try again to register one that FAILED."""
    services.retry_role(actor=actor_of(request), role=find(workspace, instance_role))
    return done(request, "workspaces:instance_roles", workspace.pk)


@workspace_view(Perm.WS_MANAGE, ("POST",))
def role_delete(request: WorkspaceRequest, workspace: Workspace, instance_role: UUID) -> HttpResponse:
    """Take what was added off a role, and forget it."""
    row = find(workspace, instance_role)
    services.delete_role(actor=actor_of(request), role=row)
    messages.success(request, f"The instance role {row.name} is being removed. The role itself stays in your account.")
    return done(request, "workspaces:instance_roles", workspace.pk)
