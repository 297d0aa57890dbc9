"""Who is locked out: whoever has not signed in for more than PORTAL_DORMANCY_DAYS.

The rule stands here and, as a condition on rows, in ``User.objects.locked``. It is asked at sign-in and on every
request; the sweep only writes down what is true without it.

Only a sign-in counts, and work does not. It surprises nobody who works, because a session ends before
(``PORTAL_SESSION_DAYS``; the settings see to it).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User

SENTENCE = "User is locked out. To unlock user, please contact your administrators"
"""What a locked person is told, word for word as the product promises, and no more."""

WARN_DAYS = (14, 3)
"""How many days before the lock a warning goes out."""


def window() -> timedelta:
    """How long somebody may stay away. Exactly this long is not too long."""
    return timedelta(days=settings.PORTAL_DORMANCY_DAYS)


def warnings() -> list[timedelta]:
    """After how long without sign-in each warning is due; none at once, where the window is that short."""
    return [window() - timedelta(days=days) for days in WARN_DAYS if days < settings.PORTAL_DORMANCY_DAYS]


def seen_at(user: User) -> datetime:
    """Where the days count from: the last sign-in, or what came after it in its place."""
    return max(at for at in (user.last_login, user.date_joined, user.unlocked_at) if at)


def locks_at(user: User) -> datetime:
    """The last moment at which a person is not locked yet."""
    return seen_at(user) + window()


def is_locked(user: User, now: datetime | None = None) -> bool:
    """Whether a person is locked out, marked by a sweep or not."""
    return user.locked_at is not None or (now or timezone.now()) > locks_at(user)
