"""What an actor may do in a workspace at this moment; see ``accounts.standing``."""

from __future__ import annotations

from accounts.audit import Actor
from accounts.permissions import Perm, workspace_permissions
from accounts.standing import permissions_of
from workspaces.access import refuse_in, role_in
from workspaces.models import Workspace


def demand_in(actor: Actor, perm: Perm, workspace: Workspace) -> None:
    """Raise PermissionNeededError unless the actor has the permission in the workspace now. Under ``lock_roles``."""
    if perm in permissions_of(actor, workspace.organization):
        return  # only who stands above the roles has permissions of workspaces in an organization
    roles = role_in(workspace, actor.user) if actor.user else None
    if roles is None or perm not in workspace_permissions(roles[1]):
        raise refuse_in(workspace, perm)
