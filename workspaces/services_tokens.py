"""API tokens for a workspace."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction

from accounts import services_tokens
from accounts.audit import Actor
from accounts.permissions import Perm, WorkspaceRole, workspace_permissions
from accounts.services_tokens import NewToken
from accounts.standing import lock_roles
from portal.clouds.base import Target
from portal.errors import UserError
from workspaces.access import refuse_in, role_in
from workspaces.models import Workspace


@transaction.atomic
def create_workspace_token(
    *, actor: Actor, pk: uuid.UUID, workspace: Workspace, name: str, role: WorkspaceRole, expires_at: datetime | None
) -> NewToken:
    """A token for a workspace; see ``accounts.services_tokens.create_token``.

    Raises PermissionNeededError, and UserError(WorkspaceGone) where it is being deleted, which has revoked the tokens
    that there were.
    """
    lock_roles(workspace.organization)
    row = Workspace.objects.select_for_update(of=["self"]).select_related("organization").get(pk=workspace.pk)
    roles = role_in(row, actor.user) if actor.user else None
    if roles is None or Perm.WS_MANAGE not in workspace_permissions(roles[1]):
        raise refuse_in(row, Perm.WS_MANAGE)
    if row.target == Target.TERMINATED:
        raise UserError("WorkspaceGone", f"The workspace {row.name} is being deleted.", "It needs no API tokens.")
    return services_tokens.create_token(
        actor=actor,
        pk=pk,
        organization=row.organization,
        workspace=row,
        name=name,
        role=role,
        expires_at=expires_at,
    )
