"""How allauth's flows meet our users."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts import lockout, services_lockout, services_security, signin_events, sso
from accounts.addresses import clean_email
from accounts.audit import actor_of
from accounts.models import PendingSignup, User
from accounts.views_lockout import locked_out
from accounts.views_sso import sso_demanded
from portal import mail


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Sign-up can be closed by the operator, and an organization can ask for its own provider; mail goes through the
    outbox."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": (
            "The e-mail address or the password is not correct, or the account is not activated yet."
        ),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether people may sign up by themselves (PORTAL_SIGNUP_OPEN); buyers from AWS Marketplace always may."""
        return bool(settings.PORTAL_SIGNUP_OPEN)

    def populate_username(self, request: HttpRequest, user: Any) -> None:
        """Users have no name but their e-mail address."""

    def clean_email(self, email: str) -> str:
        """One spelling for each mailbox."""
        return clean_email(email)

    def get_login_stages(self) -> list[str]:
        """Whoever signs in accepts the terms of today, last of all."""
        return [*super().get_login_stages(), "accounts.terms.TermsStage"]

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """To the organization that could not be made at activation, if there is one."""
        if isinstance(request.user, User) and PendingSignup.objects.unfinished_by(request.user).exists():
            return reverse("accounts:organization_new")
        return str(super().get_login_redirect_url(request))

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Links in mails lead to the portal's own address, whatever name the browser used."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.SITE_URL + path.replace("UID-KEY", quote(key))

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        """The same for a further address."""
        return settings.SITE_URL + reverse("account_confirm_email", args=[emailconfirmation.key])

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
            signin_events.note_refused(request, user, "locked out")
            return locked_out(request)
        if sso.METHOD not in (how.get("signal_kwargs") or {}) and (connection := sso.demanded_of(user)):
            return sso_demanded(request, connection, user)
        response: HttpResponse | None = super().pre_login(request, user, **how)
        return response

    def login(self, request: HttpRequest, user: Any) -> None:
        """Look again: between the password and the second factor, or whatever comes before this, time has passed."""
        if not User.objects.usable().filter(pk=user.pk).exists():
            signin_events.note_refused(request, user, "locked out")
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
