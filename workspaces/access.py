"""The one way into a workspace's pages: resolve the tenant, or 404; check the permission, or say who can give it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from accounts.access import OrganizationRequest, people_who_manage, second_factor_needed
from accounts.impersonation import permitted
from accounts.models import Membership, User
from accounts.permissions import (
    WORKSPACE_ADMINS_BY_ROLE,
    WORKSPACE_MATRIX,
    Perm,
    WorkspaceRole,
    organization_permissions,
    workspace_permissions,
)
from accounts.second_factor import SecondFactorNeededError, demand_second_factor
from accounts.sessions import let_in
from portal.errors import PermissionNeededError, UserError
from workspaces.models import Workspace, WorkspaceMembership, WorkspaceStatus

View = Callable[..., Any]


class WorkspaceRequest(OrganizationRequest):
    """A request that has passed ``workspace_view``."""

    workspace: Workspace


def role_in(workspace: Workspace, user: User) -> tuple[str, str] | None:
    """A user's roles in a workspace's organization and in the workspace; None for outsiders."""
    return roles_in(workspace, [user]).get(user.pk)


def roles_in(workspace: Workspace, people: Collection[User]) -> dict[int, tuple[str, str]]:
    """The roles of people in a workspace's organization and in the workspace, by their keys, without outsiders.

    OWNER and ADMIN of the organization act as workspace ADMIN everywhere.
    """
    active = [user for user in people if user.is_active]
    members = Membership.objects.filter(
        user__in=active, organization_id=workspace.organization_id, organization__deleted_at=None
    )
    organization_roles = dict(members.values_list("user_id", "role"))
    roles = {
        user_id: (role, str(WorkspaceRole.ADMIN))
        for user_id, role in organization_roles.items()
        if role in WORKSPACE_ADMINS_BY_ROLE
    }
    if others := organization_roles.keys() - roles.keys():
        own = WorkspaceMembership.objects.filter(user__in=others, workspace=workspace)
        roles |= {user_id: (organization_roles[user_id], role) for user_id, role in own.values_list("user_id", "role")}
    return roles


def enter_workspace(request: Any, workspace_id: UUID) -> tuple[Workspace, str, str]:
    """A workspace, and the roles in its organization and in it in which the sender of a request enters; 404 for
    outsiders.

    Raises SecondFactorNeededError.
    """
    rows = Workspace.objects.select_related("organization", "cloud_configuration")
    workspace = rows.filter(pk=workspace_id).exclude(status=WorkspaceStatus.TERMINATED).first()
    roles = role_in(workspace, request.user) if workspace else None
    if workspace is None or roles is None:
        raise Http404
    demand_second_factor(request, workspace.organization)
    return workspace, *roles


def may_upload(request: HttpRequest, workspace_id: str) -> bool:
    """Whether the person behind a session may send a large body to a workspace; asked before its first byte is kept
    (``portal.asgi``)."""
    if not let_in(request):
        return False
    _, _, role = enter_workspace(request, UUID(workspace_id))
    return Perm.FILES_EDIT in workspace_permissions(role)


def workspace_view(
    perm: Perm, methods: tuple[str, ...] = ("GET", "HEAD"), *, ready: bool = True
) -> Callable[[View], View]:
    """Decorate a view whose first URL argument is a workspace's id; the view gets the ``Workspace`` in its place.

    ``ready`` views answer 409 while the workspace is not READY, because there is nothing yet (or no more) to show.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def wrapped(request: Any, workspace: UUID, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                row, role, role_here = enter_workspace(request, workspace)
            except SecondFactorNeededError as error:
                return second_factor_needed(request, error.organization)
            request.workspace, request.organization = row, row.organization
            request.organization_role = role
            request.permissions = permitted(request, organization_permissions(role) | workspace_permissions(role_here))
            if perm not in request.permissions:
                raise refuse_in(row, perm)
            if ready and row.status != WorkspaceStatus.READY:
                raise UserError(
                    "WorkspaceNotReady",
                    f"The workspace {row.name} is {row.status}.",
                    "Its progress is on the page of workspaces; it can be entered when it is READY.",
                )
            response: HttpResponse = view(request, row, *args, **kwargs)
            return response

        wrapped.required_permission = perm  # type: ignore[attr-defined]
        return login_required(require_http_methods(methods)(wrapped))

    return decorate


def refuse_in(workspace: Workspace, perm: Perm) -> PermissionNeededError:
    """The refusal that names the role a workspace permission needs, and who can give it."""
    needed = " or ".join(role.label for role in WorkspaceRole if role in WORKSPACE_MATRIX[perm])
    admins = WorkspaceMembership.objects.in_workspace(workspace).filter(role=WorkspaceRole.ADMIN)[:10]
    people = [f"{row.user.get_full_name()} <{row.user.email}>" for row in admins]
    people += [person for person in people_who_manage(workspace.organization) if person not in people]
    return PermissionNeededError(role_needed=f"{needed} of the workspace {workspace}", who_can=people)
