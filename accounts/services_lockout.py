"""Locking, warning and unlocking people who stayed away."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts import audit, lockout
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import Perm
from accounts.standing import demand, lock_roles
from portal import mail
from portal.errors import UserError

DORMANCY = audit.system("dormancy")


def sweep() -> None:
    """Mark who is locked and warn who soon will be. Any number may run at once, and none need to run for the lock to
    hold. Each person is a transaction of their own, which leaves out who signed in meanwhile."""
    now = timezone.now()
    for user in User.objects.locked(now).filter(locked_at=None).order_by("pk").iterator(chunk_size=500):
        lock_user(actor=DORMANCY, user=user)
    for user in User.objects.to_warn(now).order_by("pk").iterator(chunk_size=500):
        warn_user(actor=DORMANCY, user=user)


@transaction.atomic
def lock_user(*, actor: Actor, user: User) -> bool:
    """Write down that somebody is locked; False when they are not, or it was written down already."""
    now = timezone.now()
    if not User.objects.locked(now).filter(pk=user.pk, locked_at=None).update(locked_at=now):
        return False
    user.refresh_from_db(fields=["locked_at"])
    audit.record_about(actor, "user.lock", user, days=settings.PORTAL_DORMANCY_DAYS, last_sign_in=_iso(user.last_login))
    return True


@transaction.atomic
def warn_user(*, actor: Actor, user: User) -> bool:
    """Tell somebody when they will be locked; False when they were told, signed in meanwhile, or it is not time."""
    now = timezone.now()
    if not User.objects.to_warn(now).filter(pk=user.pk).update(dormancy_warned_at=now):
        return False
    user.refresh_from_db()
    ends = lockout.locks_at(user).astimezone(UTC)
    audit.record_about(actor, "user.warn", user, locks_at=_iso(ends))
    mail.post(
        to=user.email,
        subject=f"Sign in by {ends.day} {ends:%B %Y} to keep your account",
        text=f"""Hello {user.get_short_name()},

accounts that nobody signs in to for more than {settings.PORTAL_DORMANCY_DAYS} days are locked. Yours will be locked on
{ends.day} {ends:%B %Y} at {ends:%H:%M} UTC, and the API tokens that you made will stop working then.

To keep it, sign in before that:

{settings.SITE_URL}{reverse("account_login")}

Once it is locked, an owner or admin of your organization can unlock it.

The Bodo Cloud Platform""",
    )
    return True


@transaction.atomic
def unlock_user(*, actor: Actor, user: User, organization: Organization | None) -> None:
    """Let somebody in again; their days count from now.

    ``organization`` is the one whose administrator does it, and None for the operator. All organizations of the
    person learn of it; who it was, only that one. Raises PermissionNeededError, UserError(NotAMember, UserNotLocked).
    """
    if organization is not None:
        lock_roles(organization)
        demand(actor, Perm.PEOPLE_MANAGE, organization)
        if not Membership.objects.filter(user=user, organization=organization).exists():
            raise UserError("NotAMember", f"{user} is not a member of {organization}.", "Reload the list of people.")
    row = User.objects.select_for_update().get(pk=user.pk)
    now = timezone.now()
    if not lockout.is_locked(row, now):
        raise UserError("UserNotLocked", f"{row} is not locked out.", "Reload the page to see how things stand now.")
    before = _state(row)
    row.locked_at, row.unlocked_at, row.dormancy_warned_at = None, now, None
    row.save(update_fields=["locked_at", "unlocked_at", "dormancy_warned_at"])
    places: list[Organization | None] = [*Organization.objects.of(row)]
    for place in places or [None]:
        told = organization is None or place == organization
        who = actor if told else audit.system("unlocked by an administrator of another organization")
        last = _iso(row.last_login)
        audit.record(who, "user.unlock", row, organization=place, before=before, after=_state(row), last_sign_in=last)
    by = f"An administrator of {organization}" if organization else "The operator of the portal"
    mail.post(
        to=row.email,
        subject="Your account is unlocked",
        text=f"""Hello {row.get_short_name()},

{by} unlocked your account. You can sign in again, within {settings.PORTAL_DORMANCY_DAYS} days:

{settings.SITE_URL}{reverse("account_login")}

The Bodo Cloud Platform""",
    )


def _state(user: User) -> dict[str, str | None]:
    return {"locked_at": _iso(user.locked_at), "unlocked_at": _iso(user.unlocked_at)}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
