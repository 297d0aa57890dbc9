"""What notebooks do when people and workspaces come and go; see ``accounts.hooks`` and ``workspaces.hooks``."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from accounts.audit import Actor, actor_of
from accounts.impersonation import is_impersonating
from accounts.models import Organization, User
from accounts.permissions import Perm
from notebooks import services
from notebooks.models import NotebookServer, S
from workspaces.access import role_in
from workspaces.models import Workspace


def entered(request: HttpRequest, workspace: Workspace) -> None:
    """Who first enters a workspace gets a server there, as the guide promises. Staff who act as them get none made."""
    if not settings.PORTAL_NOTEBOOK_AT_ENTRY or is_impersonating(request) or not workspace.has_notebooks:
        return
    permissions: frozenset[Perm] = request.permissions  # type: ignore[attr-defined]
    if Perm.NOTEBOOK_USE not in permissions:
        return
    assert isinstance(request.user, User)
    had = NotebookServer.objects.filter(workspace=workspace, user=request.user)
    if not had.exists():
        services.provide(actor=actor_of(request), workspace=workspace)


def left_workspace(actor: Actor, workspace: Workspace, user: User) -> None:
    """Who leaves a workspace leaves no server in it, unless their role in the organization keeps them there."""
    if role_in(workspace, user) is None:
        for server in NotebookServer.objects.in_workspace(workspace).filter(user=user):
            services.end(actor=actor, server=server, reason="left the workspace")


def left_organization(actor: Actor, organization: Organization, user: User) -> None:
    """Who leaves an organization leaves no server in its workspaces."""
    rows = NotebookServer.objects.filter(workspace__organization=organization, user=user)
    for server in rows.exclude(status=S.TERMINATED):
        services.end(actor=actor, server=server, reason="left the organization")


def workspace_deleted(actor: Actor, workspace: Workspace) -> None:
    """Its servers go first."""
    for server in NotebookServer.objects.in_workspace(workspace):
        services.end(actor=actor, server=server, reason="the workspace is deleted")


def stands_in(workspace: Workspace) -> bool:
    """Whether a server is left in a workspace that is to go."""
    return NotebookServer.objects.in_workspace(workspace).exists()
