"""Inviting people by e-mail: sending, sending again, revoking. What the invited do is in ``services_joining``.

An invitation stands with its sender: it works only while the person who last sent it may still invite. Whoever sends
it again takes it over.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit, hooks, letters, limits
from accounts.access import refuse
from accounts.activation import user_of
from accounts.addresses import shown
from accounts.audit import Actor
from accounts.models import Invitation, InvitationStatus, Membership, Organization, User
from accounts.permissions import OrganizationRole, Perm
from accounts.standing import demand, lock_roles, permissions_of
from accounts.tokens import hash_of
from portal.errors import UserError

VALID = timedelta(days=7)
"""How long a link works, from when it was last sent."""

RENEWED = ["role", "workspace_role", "token_hash", "invited_by", "sent_at", "expires_at"]
"""What sending again changes."""


@transaction.atomic
def invite(
    *, actor: Actor, organization: Organization, emails: Sequence[str], role: OrganizationRole
) -> list[Invitation]:
    """Invite addresses, each in its one spelling, to an organization: all of them or none.

    Raises PermissionNeededError, UserError(AlreadyMember, TooManyInvitations).
    """
    lock_roles(organization)
    demand(actor, Perm.ORG_MANAGE if role == OrganizationRole.OWNER else Perm.PEOPLE_MANAGE, organization)
    for email in emails:
        membership = member_at(organization=organization, email=email)
        if membership:
            raise UserError(
                "AlreadyMember",
                f"{email} is in {organization} already, with the role {membership.get_role_display()}.",
                "Leave the address out, or change the role in the list of members.",
            )
    return [issue(actor=actor, organization=organization, email=email, role=role) for email in emails]


def member_at(*, organization: Organization, email: str) -> Membership | None:
    """The member of an organization who has an address."""
    user = user_of(email)
    return Membership.objects.in_organization(organization).filter(user=user).first() if user else None


def issue(
    *,
    actor: Actor,
    organization: Organization,
    email: str,
    role: OrganizationRole,
    workspace: UUID | None = None,
    workspace_role: str = "",
) -> Invitation:
    """Open an invitation, or renew the open one with what is given now. The caller holds ``lock_roles`` and has asked
    whether the actor may. Raises UserError(TooManyInvitations)."""
    rows = Invitation.objects.open().filter(organization=organization, workspace=workspace, email=email)
    found = rows.select_related("organization", "workspace").first()
    before = _state(found) if found else None
    invitation = found or Invitation(organization=organization, workspace_id=workspace, email=email)
    invitation.role, invitation.workspace_role = role, workspace_role
    _send(actor, invitation)
    verb = "invitation.resend" if found else "invitation.create"
    _record(actor, verb, invitation, before=before, after=_state(invitation))
    return invitation


@transaction.atomic
def resend_invitation(*, actor: Actor, invitation: Invitation) -> Invitation:
    """Send an open invitation again: with a new link, for another seven days, in the name of the actor.

    Raises PermissionNeededError, UserError(InvitationClosed, TooManyInvitations).
    """
    lock_roles(invitation.organization)
    row = _open(invitation)
    _demand(actor, row)
    _send(actor, row)
    _record(actor, "invitation.resend", row)
    return row


@transaction.atomic
def revoke_invitation(*, actor: Actor, invitation: Invitation) -> None:
    """Make an invitation worthless. Raises PermissionNeededError, UserError(InvitationClosed)."""
    lock_roles(invitation.organization)
    row = _open(invitation)
    _demand(actor, row)
    _revoke(actor, row)


def revoke_all(*, actor: Actor, invitations: Iterable[Invitation], reason: str) -> None:
    """Make invitations worthless because of something else that is done in this transaction."""
    for invitation in invitations:
        _revoke(actor, invitation, reason=reason)


def revoke_of(*, actor: Actor, organization: Organization, user: User) -> None:
    """Make worthless what somebody sent who leaves an organization, and what would let them in again."""
    rows = Invitation.objects.in_organization(organization).open()
    sent, received = rows.filter(invited_by=user), rows.filter(email__in=user.addresses())
    revoke_all(actor=actor, invitations=sent, reason="its sender left")
    revoke_all(actor=actor, invitations=received, reason="who was invited left")


def may_send(*, actor: Actor, invitation: Invitation) -> bool:
    """Whether an actor may send, renew and revoke an invitation now. One who gives OWNER must be able to give it."""
    permissions = permissions_of(actor, invitation.organization)
    if invitation.workspace_id is None:
        owner = invitation.role == OrganizationRole.OWNER
        return (Perm.ORG_MANAGE if owner else Perm.PEOPLE_MANAGE) in permissions
    if Perm.PEOPLE_MANAGE in permissions:
        return True
    if actor.user is None:
        return False
    held = hooks.permissions_in_workspace(invitation.organization, invitation.workspace_id, [actor.user])
    return Perm.WS_MANAGE in held.get(actor.user.pk, frozenset())


def _open(invitation: Invitation) -> Invitation:
    row = Invitation.objects.open().select_related("organization", "workspace").filter(pk=invitation.pk).first()
    if row is None:
        raise UserError(
            "InvitationClosed",
            f"The invitation of {invitation.email} was accepted, declined or revoked meanwhile.",
            "Reload the list of invitations.",
        )
    return row


def _demand(actor: Actor, invitation: Invitation) -> None:
    if not may_send(actor=actor, invitation=invitation):
        owner = invitation.role == OrganizationRole.OWNER
        raise refuse(Perm.ORG_MANAGE if owner else Perm.PEOPLE_MANAGE, invitation.organization)


def _send(actor: Actor, invitation: Invitation) -> None:
    if not limits.take("invite", str(invitation.organization_id)):
        raise UserError(
            "TooManyInvitations",
            f"{invitation.organization} has sent as many invitations within the hour as it may.",
            "Send the others in an hour.",
            status=429,
        )
    if not limits.take("invited", invitation.email):
        raise UserError(
            "TooManyInvitations",
            f"{shown(invitation.email)} was sent as many invitations within the hour as one address may be.",
            "Ask whether one of them has arrived, and send another one in an hour.",
            status=429,
        )
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    invitation.token_hash = hash_of(token)
    invitation.invited_by = actor.user
    invitation.sent_at, invitation.expires_at = now, now + VALID
    if invitation._state.adding:
        invitation.save()
    else:
        invitation.save(update_fields=RENEWED)
    letters.invited(actor=actor, invitation=invitation, token=token)


def _revoke(actor: Actor, invitation: Invitation, **detail: object) -> None:
    now = timezone.now()
    if Invitation.objects.open().filter(pk=invitation.pk).update(status=InvitationStatus.REVOKED, closed_at=now):
        _record(actor, "invitation.revoke", invitation, before=_state(invitation), **detail)


def _record(actor: Actor, verb: str, invitation: Invitation, **detail: Any) -> None:
    if invitation.workspace:
        detail["workspace"] = invitation.workspace.name
    audit.record(actor, verb, invitation, organization=invitation.organization, **detail)


def _state(invitation: Invitation) -> dict[str, str]:
    roles = {"role": invitation.role, "workspace_role": invitation.workspace_role}
    return {name: role for name, role in roles.items() if role}
