"""Pages of a workspace's API tokens."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from accounts import services_tokens as shared
from accounts import tokens
from accounts.audit import actor_of
from accounts.forms_tokens import TokenForm, roles_within
from accounts.impersonation import not_while_impersonating
from accounts.models import ApiToken
from accounts.permissions import Perm, WorkspaceRole
from accounts.views_tokens import token_made, token_refused
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import page
from workspaces import services_tokens
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ready=False)
def token_list(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The tokens for the workspace, newest first."""
    shown = page(request, ApiToken.objects.in_workspace(workspace))
    context = {
        "nav": "settings",
        "tab": "tokens",
        "page": shown,
        "rows": [
            (token, state, reverse("workspaces:token_revoke", args=[workspace.pk, token.pk]))
            for token, state in tokens.with_states(shown.rows, workspace.organization, workspace.pk)
        ],
        "new_url": reverse("workspaces:token_new", args=[workspace.pk]),
    }
    return render(request, "workspaces/tokens.html", context)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"), ready=False)
def token_new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Make a token for the workspace, and show its secret."""
    back = reverse("workspaces:tokens", args=[workspace.pk])
    form = TokenForm(posted(request), roles=roles_within(request.permissions, workspace=True))
    if request.method == "POST" and form.is_valid():
        try:
            new = services_tokens.create_workspace_token(
                actor=actor_of(request),
                pk=form.cleaned_data["id"],
                workspace=workspace,
                name=form.cleaned_data["name"],
                role=WorkspaceRole(form.cleaned_data["role"]),
                expires_at=form.expires_at,
            )
        except UserError as error:
            return token_refused(request, error, back)
        return token_made(request, "accounts/token_made.html", new, nav="settings", back=back)
    return form_response(request, "accounts/token_new.html", form, nav="settings", back=back)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("POST",), ready=False)
def token_revoke(request: WorkspaceRequest, workspace: Workspace, workspace_token: UUID) -> HttpResponse:
    """Revoke a token of the workspace."""
    row = get_object_or_404(ApiToken.objects.in_workspace(workspace), pk=workspace_token)
    shared.revoke_token(actor=actor_of(request), token=row)
    messages.success(request, f"The API token {row} is revoked.")
    return done(request, "workspaces:tokens", workspace.pk)
