"""How long a sign-in lasts, when it was last used, and whether it still stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from allauth.usersessions.models import UserSession
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from accounts.impersonation import acting_user
from portal.errors import PermissionNeededError, UserError, client_address

BEGAN, SEEN = "began", "seen"
"""Keys of the session: when somebody signed in, and when they last asked for a page. Seconds since 1970."""

NOTE_SECONDS = 60
"""How old "last seen" may be. Each note is a transaction."""


class SessionLimits:
    """Middleware: end a sign-in that is too old or was left alone; note when, and from where, the others are used."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.session.session_key and request.user.is_authenticated:
            if over(request.session):
                logout(request)
                messages.info(request, "That sign-in has ended, as all do after a while. Sign in again.")
            else:
                _note(request)
        return self.get_response(request)


def over(session: SessionBase) -> bool:
    """Whether a sign-in has lasted ``PORTAL_SESSION_DAYS``, or was not used for ``PORTAL_SESSION_IDLE_HOURS``."""
    now = timezone.now().timestamp()
    began, seen = session.get(BEGAN, now), session.get(SEEN, now)
    return bool(
        now - began > settings.PORTAL_SESSION_DAYS * 86400 or now - seen > settings.PORTAL_SESSION_IDLE_HOURS * 3600
    )


def _note(request: HttpRequest) -> None:
    """Not by saving the session whole: that would undo what another request has put there meanwhile."""
    now, session = timezone.now(), request.session
    if now.timestamp() - session.get(SEEN, 0) < NOTE_SECONDS:
        return
    times = {BEGAN: session.get(BEGAN, now.timestamp()), SEEN: now.timestamp()}
    with transaction.atomic():
        row = Session.objects.select_for_update().filter(session_key=session.session_key).first()
        if row is None:
            return
        row.session_data = session.encode({**session.decode(row.session_data), **times})
        row.save(update_fields=["session_data"])
        where = client_address(request)
        UserSession.objects.filter(session_key=session.session_key).update(
            last_seen_at=now,
            user_agent=request.headers.get("User-Agent", "")[:200],
            **({"ip": where} if where else {}),
        )
    was_modified = session.modified
    session.update(times)
    session.modified = was_modified


def let_in(request: HttpRequest) -> bool:
    """Whether anybody acts through the session of a request that passes no middleware; if so, as ``request.user``."""
    user = None if over(request.session) else acting_user(request)
    if user is None:
        return False
    request.user = user
    return True


def still(request: HttpRequest, check: Callable[[HttpRequest], object]) -> Callable[[], Awaitable[bool]]:
    """For streams, which outlive their request: whether the same request would be let in now.

    The session is read anew (it may have ended, or the password changed), then who acts through it, then ``check``
    looks as a view would, and raises where it refuses.
    """
    key = request.session.session_key

    def ask() -> bool:
        again = HttpRequest()
        again.session = SessionStore(key)
        if not let_in(again):
            return False
        try:
            check(again)
        except (Http404, PermissionNeededError, UserError):
            return False
        return True

    return sync_to_async(ask)


def sweep() -> None:
    """Remove sessions that have expired, and the lines about sessions that are gone."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    gone = UserSession.objects.filter(created_at__lt=timezone.now() - timedelta(hours=1))
    gone.exclude(session_key__in=Session.objects.values("session_key")).delete()
