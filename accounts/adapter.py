"""How allauth's flows meet our users."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from accounts import lockout, services_lockout, services_security
from accounts.audit import actor_of
from accounts.models import User
from accounts.views_lockout import locked_out
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

    def pre_login(self, request: HttpRequest, user: Any, **how: Any) -> HttpResponse | None:
        """Refuse who is locked out. All of allauth's ways to sign in come by here, once they know that it is them."""
        if lockout.is_locked(user):
            services_lockout.lock_user(actor=services_lockout.DORMANCY, user=user)
            return locked_out(request)
        response: HttpResponse | None = super().pre_login(request, user, **how)
        return response

    def login(self, request: HttpRequest, user: Any) -> None:
        """Look again: between the password and the second factor, or whatever comes before this, time has passed."""
        if not User.objects.usable().filter(pk=user.pk).exists():
            raise ImmediateHttpResponse(locked_out(request))
        super().login(request, user)

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        """Somebody whom staff shut out is told the same as who is locked out."""
        return locked_out(request)

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """The ways to confirm that it is still the same person, in our words."""
        words = {"mfa_reauthenticate": "Use a code", "mfa_reauthenticate:webauthn": "Use your passkey"}
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return [{**method, "description": words.get(method["id"], method["description"])} for method in methods]

    def send_notification_mail(self, template_prefix: str, user: Any, *arguments: Any, **also: Any) -> None:
        """Tell people what changed about their account, but not that they just opened our link."""
        if template_prefix != "account/email/email_confirm":
            super().send_notification_mail(template_prefix, user, *arguments, **also)


class SessionsAdapter(DefaultUserSessionsAdapter):  # type: ignore[misc]
    """Ending a session leaves an audit event."""

    def end_sessions(self, sessions: list[UserSession]) -> None:
        """Called by allauth for all the other browsers of a person."""
        services_security.end_sessions(actor=actor_of(context.request), sessions=sessions)
