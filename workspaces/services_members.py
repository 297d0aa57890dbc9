"""Who is in a workspace, and in which role. All of it under ``lock_roles`` of the organization.

No workspace needs an ADMIN of its own: owners and admins of the organization manage all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from accounts import audit
from accounts.activation import user_of
from accounts.audit import Actor
from accounts.models import Invitation, Membership, User
from accounts.permissions import OrganizationRole, Perm, WorkspaceRole
from accounts.services import add_member
from accounts.services_invitations import issue, revoke_all
from accounts.standing import lock_roles
from portal.errors import UserError
from workspaces import hooks, letters
from workspaces.access import role_in
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.standing import demand_in


@dataclass(frozen=True)
class Welcomed:
    """Who is in the workspace now, and who was invited by mail because they are not in the organization yet."""

    added: list[WorkspaceMembership]
    invited: list[Invitation]


@transaction.atomic
def add_members(*, actor: Actor, workspace: Workspace, emails: Sequence[str], role: WorkspaceRole) -> Welcomed:
    """Let people into a workspace, by addresses in their one spelling: all of them or none. Members of the organization
    are in at once and are told; others are invited.

    Raises PermissionNeededError, UserError(AlreadyMember, TooManyInvitations).
    """
    lock_roles(workspace.organization)
    demand_in(actor, Perm.WS_MANAGE, workspace)
    welcomed = Welcomed([], [])
    for email in emails:
        user = user_of(email)
        if user and Membership.objects.in_organization(workspace.organization).filter(user=user).exists():
            welcomed.added.append(_add(actor, workspace, user, email, role))
        else:
            invitation = issue(
                actor=actor,
                organization=workspace.organization,
                email=email,
                role=OrganizationRole.MEMBER,
                workspace=workspace.pk,
                workspace_role=role,
            )
            welcomed.invited.append(invitation)
    return welcomed


def _add(actor: Actor, workspace: Workspace, user: User, email: str, role: WorkspaceRole) -> WorkspaceMembership:
    found = WorkspaceMembership.objects.in_workspace(workspace).filter(user=user).first()
    if found:
        raise UserError(
            "AlreadyMember",
            f"{email} is in {workspace} already, with the role {found.get_role_display()}.",
            "Leave the address out, or change the role in the list of members.",
        )
    membership = add_workspace_member(actor=actor, workspace=workspace, user=user, role=role)
    if actor.user != user:
        letters.added(actor=actor, membership=membership)
    return membership


@transaction.atomic
def add_workspace_member(*, actor: Actor, workspace: Workspace, user: User, role: WorkspaceRole) -> WorkspaceMembership:
    """Put a user into a workspace, and into its organization as MEMBER if they are not in it; or give them another role
    there. Asks for no permission: the caller knows why."""
    add_member(actor=actor, organization=workspace.organization, user=user, role=OrganizationRole.MEMBER)
    memberships = WorkspaceMembership.objects.select_for_update()
    membership, created = memberships.get_or_create(workspace=workspace, user=user, defaults={"role": role})
    if created:
        _record(actor, "workspace_membership.create", membership, after={"role": role})
    else:
        _set_role(actor, membership, role)
    return membership


@transaction.atomic
def change_workspace_role(*, actor: Actor, workspace: Workspace, user: User, role: WorkspaceRole) -> None:
    """Give a member another role. Raises PermissionNeededError, UserError(NotAMember)."""
    lock_roles(workspace.organization)
    demand_in(actor, Perm.WS_MANAGE, workspace)
    _set_role(actor, _find(workspace, user), role)
    _revoke_beyond(actor, workspace, user)


@transaction.atomic
def remove_workspace_member(*, actor: Actor, workspace: Workspace, user: User) -> None:
    """Take somebody out of a workspace, and tell them; they stay in the organization.

    Raises PermissionNeededError, UserError(NotAMember).
    """
    lock_roles(workspace.organization)
    demand_in(actor, Perm.WS_MANAGE, workspace)
    _end(actor, "workspace_membership.remove", _find(workspace, user))
    if actor.user != user:
        letters.removed(actor=actor, workspace=workspace, user=user)


@transaction.atomic
def leave_workspace(*, actor: Actor, workspace: Workspace) -> None:
    """Leave a workspace. Raises UserError(NotAMember)."""
    assert actor.user is not None, "only a person can leave"
    lock_roles(workspace.organization)
    _end(actor, "workspace_membership.leave", _find(workspace, actor.user))


def _find(workspace: Workspace, user: User) -> WorkspaceMembership:
    membership = WorkspaceMembership.objects.in_workspace(workspace).filter(user=user).first()
    if membership is None:
        raise UserError("NotAMember", f"{user} is not a member of {workspace} any more.", "Reload the list of members.")
    return membership


def _set_role(actor: Actor, membership: WorkspaceMembership, role: WorkspaceRole) -> None:
    before = membership.role
    if before == role:
        return
    membership.role = role
    membership.save(update_fields=["role"])
    _record(actor, "workspace_membership.update", membership, before={"role": before}, after={"role": role})


def _end(actor: Actor, verb: str, membership: WorkspaceMembership) -> None:
    _record(actor, verb, membership, before={"role": membership.role})
    membership.delete()
    for follow in hooks.member_left:
        follow(actor, membership.workspace, membership.user)
    _revoke_beyond(actor, membership.workspace, membership.user)


def _revoke_beyond(actor: Actor, workspace: Workspace, user: User) -> None:
    """Invitations to the workspace that somebody has sent who could not send them now."""
    roles = role_in(workspace, user)
    if roles is None or roles[1] != WorkspaceRole.ADMIN:
        sent = Invitation.objects.in_organization(workspace.organization).open().filter(invited_by=user)
        reason = "its sender may no longer invite"
        revoke_all(actor=actor, invitations=sent.filter(workspace=workspace), reason=reason)


def _record(actor: Actor, verb: str, membership: WorkspaceMembership, **states: dict[str, str]) -> None:
    workspace = membership.workspace
    audit.record(actor, verb, membership, organization=workspace.organization, person=membership.user.email, **states)
