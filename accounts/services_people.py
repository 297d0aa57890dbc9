"""Who is in an organization, and in which role.

All of it happens under ``lock_roles``: no organization loses its last owner, and nobody acts with a role that was taken
from them a moment ago.
"""

from __future__ import annotations

from django.db import transaction

from accounts import audit, hooks, letters
from accounts.audit import Actor
from accounts.models import Invitation, Membership, Organization, User
from accounts.permissions import OrganizationRole, Perm, organization_permissions
from accounts.services_invitations import revoke_all, revoke_of
from accounts.standing import demand, keep_an_owner, lock_roles
from portal.errors import UserError


@transaction.atomic
def change_role(*, actor: Actor, organization: Organization, user: User, role: OrganizationRole) -> Membership:
    """Give a member another role. Owners are made and unmade by owners only, and nobody widens their own role.

    Raises PermissionNeededError, UserError(NotAMember, OwnRole, LastOwner).
    """
    lock_roles(organization)
    membership = _find(organization, user)
    before = membership.role
    demand(actor, Perm.PEOPLE_MANAGE, organization)
    if OrganizationRole.OWNER in {before, role}:
        demand(actor, Perm.ORG_MANAGE, organization)
    if actor.user == user and not organization_permissions(role) <= organization_permissions(before):
        raise UserError(
            "OwnRole",
            f"The role {role.label} has permissions that yours has not, and nobody widens their own role.",
            "Ask another owner or admin of the organization to give it to you.",
            status=403,
        )
    if role == before:
        return membership
    keep_an_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    _revoke_beyond(actor, membership)
    audit.record(
        actor,
        "membership.change_role",
        membership,
        organization=organization,
        person=user.email,
        before={"role": before},
        after={"role": role},
    )
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, organization: Organization, user: User) -> None:
    """Take somebody out of an organization with all that hangs on their membership, and tell them.

    Raises PermissionNeededError, UserError(NotAMember, LastOwner).
    """
    lock_roles(organization)
    membership = _find(organization, user)
    demand(actor, Perm.PEOPLE_MANAGE, organization)
    if membership.role == OrganizationRole.OWNER:
        demand(actor, Perm.ORG_MANAGE, organization)
    _end(actor, "membership.remove", membership)
    if actor.user != user:
        letters.removed(actor=actor, organization=organization, user=user)


@transaction.atomic
def leave_organization(*, actor: Actor, organization: Organization) -> None:
    """Leave an organization. Raises UserError(NotAMember, LastOwner)."""
    assert actor.user is not None, "only a person can leave"
    lock_roles(organization)
    _end(actor, "membership.leave", _find(organization, actor.user))


def _find(organization: Organization, user: User) -> Membership:
    membership = Membership.objects.of(user).filter(organization=organization).first()
    if membership is None:
        raise UserError(
            "NotAMember", f"{user} is not a member of {organization} any more.", "Reload the list of people."
        )
    return membership


def _revoke_beyond(actor: Actor, membership: Membership) -> None:
    """Invitations to the organization that a member has sent and, with another role, could not send now."""
    permissions = organization_permissions(membership.role)
    rows = Invitation.objects.in_organization(membership.organization).open()
    sent = rows.filter(invited_by=membership.user, workspace=None)
    if Perm.PEOPLE_MANAGE in permissions:
        sent = sent.filter(role=OrganizationRole.OWNER)
    if Perm.ORG_MANAGE not in permissions:
        revoke_all(actor=actor, invitations=sent, reason="its sender may no longer invite")


def _end(actor: Actor, verb: str, membership: Membership) -> None:
    keep_an_owner(membership)
    revoke_of(actor=actor, organization=membership.organization, user=membership.user)
    for ended in hooks.membership_ended:
        ended(actor, membership.organization, membership.user)
    audit.record(
        actor,
        verb,
        membership,
        organization=membership.organization,
        person=membership.user.email,
        before={"role": membership.role},
    )
    membership.delete()
