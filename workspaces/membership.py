"""What workspaces do when people come to an organization or go, and what they answer; see ``accounts.hooks``."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization, User
from accounts.permissions import Perm, workspace_permissions
from workspaces.access import role_in, roles_in
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
            workspace=row.workspace.name,
            person=user.email,
            role=row.role,
            reason="left the organization",
        )
    rows.delete()


def in_use(organization: Organization) -> list[str]:
    """Workspaces and cloud configurations keep an organization from being deleted."""
    workspaces = Workspace.objects.in_organization(organization).values_list("name", flat=True)
    configurations = CloudConfiguration.objects.in_organization(organization).values_list("name", flat=True)
    return [f"the workspace {name}" for name in workspaces] + [
        f"the cloud configuration {name}" for name in configurations
    ]


def manages(workspace: UUID, user: User) -> bool:
    """Whether somebody may manage a workspace."""
    row = Workspace.objects.filter(pk=workspace).first()
    roles = role_in(row, user) if row else None
    return roles is not None and Perm.WS_MANAGE in workspace_permissions(roles[1])


def permissions(organization: Organization, workspace: UUID, people: Collection[User]) -> dict[int, frozenset[Perm]]:
    """What people may do in a workspace of an organization."""
    row = Workspace.objects.in_organization(organization).filter(pk=workspace).first()
    roles = roles_in(row, people) if row else {}
    return {user_id: workspace_permissions(role) for user_id, (_, role) in roles.items()}
