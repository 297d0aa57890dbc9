"""What the invited do with their link: accept, decline, or sign up by it.

The link is in nobody's hands but those of who reads the mail, so it proves the address. It does not prove who is
signed in: an invitation is accepted only by a person who has its address.
"""

from __future__ import annotations

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, hooks, sso
from accounts.activation import user_of
from accounts.audit import Actor
from accounts.models import Invitation, InvitationStatus, Membership, SsoConnection, User
from accounts.permissions import OrganizationRole
from accounts.services import add_member
from accounts.services_invitations import may_send
from accounts.standing import lock_roles
from accounts.tokens import hash_of
from portal.errors import UserError


@dataclass(frozen=True)
class Joined:
    """What came of an invitation. ``was_in`` says that the person had a role in the organization, and kept it."""

    invitation: Invitation
    membership: Membership
    was_in: bool


def standing_invitation(*, token: str) -> Invitation:
    """The invitation that a link opens. Raises UserError, which says why it does not and what to do: InvitationUnknown,
    InvitationUsed, InvitationDeclined, InvitationRevoked, InvitationExpired, InvitationSenderGone."""
    rows = Invitation.objects.select_related("organization", "workspace", "invited_by", "accepted_by")
    invitation = rows.filter(token_hash=hash_of(token)).first()
    if invitation is None:
        raise UserError(
            "InvitationUnknown",
            "This invitation link does not work.",
            "Check that you opened all of it. Where an invitation was sent again, only the link in the newest mail "
            "works. Otherwise ask the person who invited you for a new one.",
            status=404,
        )
    refusal = _refusal(invitation)
    if refusal:
        raise refusal
    return invitation


def _refusal(invitation: Invitation) -> UserError | None:
    place, sender = invitation.place, invitation.invited_by
    again = f"Ask {sender} for a new one, if you still want to join." if sender else "Ask for a new one."
    match invitation.status:
        case InvitationStatus.ACCEPTED:
            code, message = "InvitationUsed", f"This invitation to {place} was accepted already."
            again = f"If that was you, sign in and choose {invitation.organization} at the top left. If not: {again}"
        case InvitationStatus.DECLINED:
            code, message = "InvitationDeclined", f"This invitation to {place} was declined."
        case InvitationStatus.REVOKED:
            code, message = "InvitationRevoked", f"This invitation to {place} was taken back."
        case _ if invitation.is_expired():
            code, message = "InvitationExpired", f"This invitation to {place} is older than seven days."
        case _ if not _sender_stands(invitation):
            code, message = "InvitationSenderGone", f"Who invited you to {place} may no longer invite people to it."
            again = "Ask somebody else there to invite you."
        case _:
            return None
    return UserError(code, message, again, status=410)


def _sender_stands(invitation: Invitation) -> bool:
    sender = invitation.invited_by
    return sender is not None and sender.is_active and may_send(actor=audit.person(sender, None), invitation=invitation)


@transaction.atomic
def accept_invitation(*, actor: Actor, token: str) -> Joined:
    """Join by an invitation. Somebody who is in the organization keeps the role they have.

    Raises UserError as ``standing_invitation`` does, and InvitationForAnother.
    """
    assert actor.user is not None, "only a person can join"
    invitation = _claim(token, InvitationStatus.ACCEPTED, accepted_by=actor.user)
    if invitation.email not in actor.user.addresses():
        raise for_another(invitation=invitation)
    return _join(actor, actor.user, invitation)


@transaction.atomic
def decline_invitation(*, actor: Actor, token: str) -> Invitation:
    """Say no. Who is not signed in may as well: the link came to that address. Raises UserError as ``accept`` does."""
    invitation = _claim(token, InvitationStatus.DECLINED)
    if actor.user is not None and invitation.email not in actor.user.addresses():
        raise for_another(invitation=invitation)
    audit.record(actor, "invitation.decline", invitation, organization=invitation.organization)
    return invitation


def sign_up_invited(*, token: str, first_name: str, last_name: str, password: str, address: str | None) -> Joined:
    """Make an account for the invited address, which the link proves, and join.

    ``address`` is the one of the network. Raises UserError as ``standing_invitation`` does, AccountExists, and
    SsoDemanded.
    """
    hashed = make_password(password)  # takes a while on purpose: before anything is locked
    try:
        with transaction.atomic():
            invitation = _claim(token, InvitationStatus.ACCEPTED)
            if user_of(invitation.email):
                raise account_exists(invitation=invitation)
            connection, must = sso.way_in(invitation)
            if connection and must:
                raise sso_demanded(invitation=invitation, connection=connection)
            user = User.objects.create(
                email=invitation.email,
                password=hashed,
                first_name=first_name,
                last_name=last_name,
                terms_version=settings.PORTAL_TERMS_VERSION,
                terms_accepted_at=timezone.now(),
            )
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
            actor = audit.person(user, address)
            organization = invitation.organization
            audit.record(actor, "user.activate", user, organization=organization, terms=user.terms_version)
            Invitation.objects.filter(pk=invitation.pk).update(accepted_by=user)
            return _join(actor, user, invitation)
    except IntegrityError:
        if not user_of(invitation.email):
            raise
        raise account_exists(invitation=invitation) from None


def for_another(*, invitation: Invitation) -> UserError:
    """The refusal to somebody who has another address."""
    return UserError(
        "InvitationForAnother",
        "This invitation is for another e-mail address than yours.",
        "Sign out and open the link again, or ask for an invitation to your own address.",
        status=403,
    )


def account_exists(*, invitation: Invitation) -> UserError:
    """The refusal to make a second account for an address."""
    return UserError(
        "AccountExists",
        f"There is an account for {invitation.email} already.",
        "Sign in with it, then open the link in the mail again.",
    )


def sso_demanded(*, invitation: Invitation, connection: SsoConnection) -> UserError:
    """The refusal of a password where single sign-on is demanded."""
    return UserError(
        "SsoDemanded",
        f"{connection.organization} signs in {invitation.email} through its own provider only.",
        "Open the link in the mail again and go on with single sign-on.",
        status=403,
    )


def _claim(token: str, status: InvitationStatus, **fields: object) -> Invitation:
    """Take an invitation, once: of two who try at the same time, the second finds it taken."""
    invitation = standing_invitation(token=token)
    lock_roles(invitation.organization)
    invitation = standing_invitation(token=token)  # again: somebody may have been quicker
    rows = Invitation.objects.open().filter(pk=invitation.pk, token_hash=hash_of(token))
    claimed = rows.update(status=status, closed_at=timezone.now(), **fields)
    assert claimed, "all that changes an invitation holds the lock"
    return invitation


def _join(actor: Actor, user: User, invitation: Invitation) -> Joined:
    organization = invitation.organization
    was_in = Membership.objects.in_organization(organization).filter(user=user).exists()
    membership = add_member(actor=actor, organization=organization, user=user, role=OrganizationRole(invitation.role))
    for accepted in hooks.invitation_accepted:
        accepted(actor, invitation, user)
    audit.record(
        actor,
        "invitation.accept",
        invitation,
        organization=organization,
        invited_by=invitation.invited_by.email if invitation.invited_by else "",
    )
    return Joined(invitation, membership, was_in)
