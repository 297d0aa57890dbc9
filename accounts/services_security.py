"""Writes about how people sign in."""

from __future__ import annotations

from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.db import transaction

from accounts import audit
from accounts.audit import Actor


@transaction.atomic
def end_sessions(*, actor: Actor, sessions: Iterable[UserSession]) -> None:
    """Sign out browsers; their open streams end within seconds (``accounts.sessions.still``)."""
    for session in sessions:
        audit.record(actor, "session.end", session, organization=None, address=session.ip, browser=session.user_agent)
        session.end()
