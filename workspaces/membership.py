"""What workspaces do when people come to an organization or go, and what they answer; see ``accounts.hooks``."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from accounts import audit
from accounts.audit import Actor
from accounts.models import Invitation, Organization, User
from accounts.permissions import Perm, workspace_permissions
from portal.errors import UserError
from workspaces.access import roles_in
from workspaces.models import CloudConfiguration, Workspace, WorkspaceMembership


def membership_ended(actor: Actor, organization: Organization, user: User) -> None:
    """Who leaves an organization leaves its workspaces."""
    rows = WorkspaceMembership.objects.filter(user=user, workspace__organization=organization)
    for row in rows.select_related("workspace", "user"):
        audit.record(
            actor,
            "workspace_membership.remove",
            row,
            organization=organization,
            person=user.email,
            before={"role": row.role},
            reason="left the organization",
        )
    rows.delete()


def invitation_accepted(actor: Actor, invitation: Invitation, user: User) -> None:
    """Let somebody into the workspace that they were invited to; who is in keeps the role they have."""
    if invitation.workspace_id is None:
        return
    workspace = Workspace.objects.in_organization(invitation.organization).filter(pk=invitation.workspace_id).first()
    if workspace is None:
        raise UserError("WorkspaceGone", f"The workspace {invitation.workspace} was deleted meanwhile.", status=410)
    row, created = WorkspaceMembership.objects.get_or_create(
        workspace=workspace, user=user, defaults={"role": invitation.workspace_role}
    )
    if created:
        audit.record(
            actor,
            "workspace_membership.create",
            row,
            organization=invitation.organization,
            person=user.email,
            after={"role": row.role},
        )


def in_use(organization: Organization) -> list[str]:
    """Workspaces and cloud configurations keep an organization from being deleted."""
    workspaces = Workspace.objects.in_organization(organization).values_list("name", flat=True)
    configurations = CloudConfiguration.objects.in_organization(organization).values_list("name", flat=True)
    return [f"the workspace {name}" for name in workspaces] + [
        f"the cloud configuration {name}" for name in configurations
    ]


def permissions(organization: Organization, workspace: UUID, people: Collection[User]) -> dict[int, frozenset[Perm]]:
    """What people may do in a workspace of an organization."""
    row = Workspace.objects.in_organization(organization).filter(pk=workspace).first()
    roles = roles_in(row, people) if row else {}
    return {user_id: workspace_permissions(role) for user_id, (_, role) in roles.items()}
