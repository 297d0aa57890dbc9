"""What staff does for, or to, a person. Each of the person's organizations has it in its audit log."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.utils import timezone

from accounts import audit, services_signup, services_tokens
from accounts.audit import Actor
from accounts.models import ApiToken, Membership, Organization, PendingSignup, User
from accounts.standing import keep_an_owner, lock_roles
from portal import mail
from portal.errors import UserError
from portal.models import OutgoingMail


@transaction.atomic
def deactivate_user(*, actor: Actor, user: User, reason: str) -> None:
    """Shut somebody out at once: no sign-in, no session, and the API tokens that they made are revoked. What else they
    made stays. Raises UserError(Yourself, LastOwner)."""
    if actor.user == user:
        raise UserError("Yourself", "You would shut yourself out.", "Ask another member of staff to do it.")
    for organization in Organization.objects.of(user).order_by("pk"):
        lock_roles(organization)
    for membership in Membership.objects.of(user).filter(user__is_active=True).select_related("user", "organization"):
        keep_an_owner(membership)
    if User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
        ended = _end_sessions(user)
        services_tokens.revoke_tokens(
            actor=actor, tokens=ApiToken.objects.filter(created_by=user), reason="deactivated"
        )
        audit.record_about(actor, "user.deactivate", user, reason=reason, sessions_ended=ended)


@transaction.atomic
def reactivate_user(*, actor: Actor, user: User) -> None:
    """Let somebody in again. Sessions that were ended stay ended, and tokens that were revoked stay revoked."""
    if User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        audit.record_about(actor, "user.reactivate", user)


@transaction.atomic
def end_all_sessions(*, actor: Actor, user: User) -> int:
    """Sign somebody out of all browsers; returns of how many."""
    ended = _end_sessions(user)
    audit.record_about(actor, "user.end_sessions", user, sessions_ended=ended)
    return ended


@transaction.atomic
def remove_second_factors(*, actor: Actor, user: User, reason: str) -> None:
    """For somebody who lost their phone and their recovery codes. ``reason`` says how their identity was checked.

    They are told by mail, and signed out: if it was somebody else who asked, they had better notice.
    Raises UserError(NoSecondFactor).
    """
    rows = Authenticator.objects.filter(user=user)
    kinds = sorted(rows.values_list("type", flat=True))
    if not kinds:
        raise UserError("NoSecondFactor", f"{user} has no second factor.")
    rows.delete()
    ended = _end_sessions(user)
    audit.record_about(actor, "user.remove_factors", user, kinds=kinds, reason=reason, sessions_ended=ended)
    mail.post(
        to=user.email,
        subject="Your second factors were removed",
        text=f"Hello {user.get_short_name()},\n\nthe operator of the Bodo Cloud Platform removed the second factors of "
        "your account and signed it out everywhere. You can sign in with your password alone now; set up a second "
        "factor again after that.\n\nIf you did not ask for this, tell your operator at once.\n",
    )


@transaction.atomic
def send_again(*, actor: Actor, outgoing: OutgoingMail) -> None:
    """Make a mail due that was given up or waits for a long pause. Raises UserError(MailGone)."""
    waiting = OutgoingMail.objects.filter(pk=outgoing.pk, sent_at=None).exclude(sealed="")
    if not waiting.update(due_at=timezone.now(), failure=""):
        raise UserError("MailGone", "This mail was sent meanwhile, and its text is forgotten.")
    audit.record(actor, "outgoing_mail.send_again", outgoing, organization=None, to=outgoing.to)


@transaction.atomic
def send_activation_again(*, actor: Actor, pending: PendingSignup) -> None:
    """For somebody who waits for the link of their sign-up."""
    services_signup.send_again(email=pending.email)
    audit.record(actor, "pending_signup.send_again", pending, organization=None)


def _end_sessions(user: User) -> int:
    sessions = list(UserSession.objects.filter(user=user))
    for session in sessions:
        session.end()
    return len(sessions)
