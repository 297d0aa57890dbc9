"""Staff acting as a person: begin and end. The person is told, and so is each of their organizations."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts import audit, lockout
from accounts.audit import Actor
from accounts.models import Impersonation, User
from portal import mail
from portal.errors import UserError

LIMIT = timedelta(minutes=60)
"""How long it lasts at most."""

TIME_IS_UP = "the time was up"

PERMISSION = "accounts.impersonate_user"

MAIL = """\
Hello {person},

{staff} is acting in your account of the Bodo Cloud Platform from {start} until {end} at the latest, for this reason:

    {reason}

They see what you see and can do what you can, except for your password, addresses, second factors, sessions and API
tokens. Everything they do is in the audit log of your organizations, under their name.

If you did not expect this, ask the operator of the platform.
"""


def why_not(staff: User, person: User) -> str:
    """Why somebody may not act as a person, as a sentence; empty where they may."""
    if not (staff.is_active and staff.is_staff and staff.has_perm(PERMISSION)):
        return "You do not have the permission to act as somebody else."
    return closed(person)


def closed(person: User) -> str:
    """Why nobody may act as a person, as a sentence; empty where somebody may."""
    if person.is_staff or person.is_superuser:
        return f"{person} is staff, and nobody acts as staff."
    if not person.is_active:
        return f"The account of {person} is not active."
    if lockout.is_locked(person):
        return f"{person} is locked out. Unlock the account first, if that is what they ask for."
    return ""


@transaction.atomic
def start_impersonation(*, actor: Actor, person: User, reason: str) -> Impersonation:
    """Let the staff member behind ``actor`` act as a person. Raises UserError(ImpersonationRefused)."""
    assert actor.user is not None
    if sentence := why_not(actor.user, person):
        raise UserError("ImpersonationRefused", sentence, "Nothing was changed.", status=403)
    now = timezone.now()
    row = Impersonation.objects.create(
        staff=actor.user,
        person=person,
        reason=reason,
        address=actor.address,
        started_at=now,
        expires_at=now + LIMIT,
    )
    audit.record_about(actor, "user.impersonation_start", person, reason=reason, until=row.expires_at.isoformat())
    text = MAIL.format(
        person=person.get_short_name(),
        staff=actor.label,
        start=_clock(now),
        end=_clock(row.expires_at),
        reason=reason,
    )
    mail.post(to=person.email, subject="Our staff is acting in your account", text=text)
    return row


@transaction.atomic
def end_impersonation(*, actor: Actor, impersonation: Impersonation, why: str) -> bool:
    """End it; only the first of several who try leaves an event, and returns True."""
    ended = Impersonation.objects.open().filter(pk=impersonation.pk).update(ended_at=timezone.now())
    if ended:
        audit.record_about(
            actor, "user.impersonation_end", impersonation.person, staff=impersonation.staff.email, why=why
        )
    return bool(ended)


def end_expired() -> int:
    """End those whose time is up and whose staff member does not come back, and return how many there were."""
    rows = Impersonation.objects.open().filter(expires_at__lte=timezone.now()).select_related("staff", "person")
    return sum(
        end_impersonation(actor=audit.system("time limit"), impersonation=row, why=TIME_IS_UP) for row in rows[:100]
    )


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
