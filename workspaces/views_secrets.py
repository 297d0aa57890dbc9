"""Pages of secrets and their groups. They show names of keys; values come in and never go out."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.audit import actor_of
from accounts.impersonation import not_while_impersonating
from accounts.permissions import Perm
from portal.errors import UserError
from portal.forms import done, form_response, posted
from workspaces import services_secrets as services
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.forms_secrets import GroupForm, SecretForm
from workspaces.models import Secret, SecretGroup, Workspace
from workspaces.views import add_error


@not_while_impersonating
@workspace_view(Perm.WS_VIEW)
def secrets(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The groups with their secrets."""
    named = Secret.objects.defer("sealed").select_related("changed_by").order_by(Lower("name"))
    groups = SecretGroup.objects.in_workspace(workspace).prefetch_related(Prefetch("secrets", named))
    context = {"nav": "secrets", "groups": groups, "can_manage": Perm.WS_MANAGE in request.permissions}
    return render(request, "workspaces/secrets.html", context)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def group_new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Make a group."""
    form = GroupForm(posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            group = services.create_group(actor=actor_of(request), workspace=workspace, **form.cleaned_data)
            messages.success(request, f"The group {group.name} is created. Now add its secrets.")
            return done(request, "workspaces:secrets", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/secret_group.html", form, nav="secrets")


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def group_edit(request: WorkspaceRequest, workspace: Workspace, group: UUID) -> HttpResponse:
    """Change the name or the description of a group."""
    row = get_object_or_404(SecretGroup.objects.in_workspace(workspace), pk=group)
    form = GroupForm(posted(request), initial={"name": row.name, "description": row.description})
    if request.method == "POST" and form.is_valid():
        try:
            services.update_group(actor=actor_of(request), group=row, **form.cleaned_data)
            messages.success(request, "Saved.")
            return done(request, "workspaces:secrets", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/secret_group.html", form, nav="secrets", group=row)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("POST",))
def group_delete(request: WorkspaceRequest, workspace: Workspace, group: UUID) -> HttpResponse:
    """Forget a group with its secrets."""
    row = get_object_or_404(SecretGroup.objects.in_workspace(workspace), pk=group)
    services.delete_group(actor=actor_of(request), group=row)
    messages.success(request, f"The group {row.name} is deleted.")
    return done(request, "workspaces:secrets", workspace.pk)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def secret_new(request: WorkspaceRequest, workspace: Workspace, group: UUID) -> HttpResponse:
    """Add a secret to a group."""
    row = get_object_or_404(SecretGroup.objects.in_workspace(workspace), pk=group)
    form = SecretForm(posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            name = form.cleaned_data["name"]
            services.create_secret(actor=actor_of(request), group=row, name=name, values=form.entered)
            messages.success(request, f"The secret {name} is saved. Its values cannot be seen any more.")
            return done(request, "workspaces:secrets", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/secret.html", form, nav="secrets", group=row)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def secret_edit(request: WorkspaceRequest, workspace: Workspace, secret: UUID) -> HttpResponse:
    """Replace values, add keys and take keys away."""
    row = get_object_or_404(Secret.objects.in_workspace(workspace).select_related("group"), pk=secret)
    form = SecretForm(posted(request), stored=row.keys, initial={"name": row.name})
    if request.method == "POST" and form.is_valid():
        try:
            services.update_secret(
                actor=actor_of(request),
                secret=row,
                name=form.cleaned_data["name"],
                values=form.entered,
                removed=form.removed,
            )
            messages.success(request, "Saved.")
            return done(request, "workspaces:secrets", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/secret.html", form, nav="secrets", group=row.group, secret=row)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("POST",))
def secret_delete(request: WorkspaceRequest, workspace: Workspace, secret: UUID) -> HttpResponse:
    """Forget a secret."""
    row = get_object_or_404(Secret.objects.in_workspace(workspace).select_related("group"), pk=secret)
    services.delete_secret(actor=actor_of(request), secret=row)
    messages.success(request, f"The secret {row.name} is deleted.")
    return done(request, "workspaces:secrets", workspace.pk)
