"""How allauth's flows meet our users."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts import services_security
from accounts.audit import actor_of
from portal import mail


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Sign-up can be closed by the operator; mail goes through the outbox."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether people may sign up by themselves (PORTAL_SIGNUP_OPEN)."""
        return bool(settings.PORTAL_SIGNUP_OPEN)

    def populate_username(self, request: HttpRequest, user: Any) -> None:
        """Users have no name but their e-mail address."""

    def send_mail(self, template_prefix: str, email: str, context_of_mail: dict[str, Any]) -> None:
        """Through our outbox: no request waits for a mail server, nor tells by its time that it had to."""
        message = self.render_mail(
            template_prefix, email, {"request": context.request, "email": email, **context_of_mail}
        )
        with transaction.atomic():
            mail.post(to=email, subject=str(message.subject), text=str(message.body))


class SessionsAdapter(DefaultUserSessionsAdapter):  # type: ignore[misc]
    """Ending a session leaves an audit event."""

    def end_sessions(self, sessions: list[UserSession]) -> None:
        """Called by allauth for all the other browsers of a person."""
        services_security.end_sessions(actor=actor_of(context.request), sessions=sessions)
