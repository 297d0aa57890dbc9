"""Signing in through an organization's provider."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.stagekit import clear_login
from allauth.account.utils import perform_login
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts import limits, oidc, services_sso, sso
from accounts.access import public_view
from accounts.forms_sso import EmailForm
from accounts.models import SsoConnection, User
from portal.errors import UserError, client_address
from portal.forms import next_path, posted

logger = logging.getLogger(__name__)

ATTEMPTS = "sso_attempts"
"""Key of the session: the sign-ins that this browser has begun and not ended, by their state."""

KEPT = 5
"""How many of them; people open tabs."""

LIFETIME_SECONDS = 600


@public_view(("GET", "HEAD", "POST"))
def start(request: HttpRequest) -> HttpResponse:
    """Ask for the address, find the provider that speaks for it, and send the browser there.

    By a page that moves on and not by a redirect: browsers hold the policy ``form-action`` against those.
    """
    form = EmailForm(posted(request), initial={"email": request.GET.get("email", "")})
    if request.method == "POST":
        if refusal := limits.refuse(request, "sso"):
            return refusal
        if form.is_valid():
            email = form.cleaned_data["email"]
            connection = sso.connection_for(email)
            if connection is not None:
                return _send(request, connection, email)
            form.add_error(
                "email", "No organization signs in people of this domain with single sign-on. Use your password."
            )
    return render(
        request, "account/sso.html", {"form": form, "next": next_path(request)}, status=422 if form.errors else 200
    )


def _send(request: HttpRequest, connection: SsoConnection, email: str) -> HttpResponse:
    client = sso.client_of(connection)
    try:
        provider, _ = oidc.discover(client.issuer)
    except oidc.ProviderError as error:
        return _failed(request, error, connection)
    attempt = oidc.Attempt.begin()
    attempts: dict[str, Any] = request.session.get(ATTEMPTS, {})
    attempts[attempt.state] = {
        "attempt": attempt.as_dict(),
        "organization": str(connection.organization_id),
        "at": timezone.now().timestamp(),
        "next": next_path(request),
        "invitation": request.POST.get("invitation", "")[:200],
    }
    request.session[ATTEMPTS] = dict(list(attempts.items())[-KEPT:])
    url = oidc.authorization_url(provider, client, attempt, login_hint=email)
    return render(request, "account/sso_redirect.html", {"url": url, "organization": connection.organization})


@public_view()
def callback(request: HttpRequest, tenant: UUID) -> HttpResponseBase:
    """Where the provider sends the browser back to, with a code or with its refusal."""
    if refusal := limits.refuse(request, "sso"):
        return refusal
    row = SsoConnection.objects.filter(organization=tenant, enabled=True).select_related("organization").first()
    try:
        begun = _take_attempt(request, tenant)
        if row is None:
            raise UserError("SsoOff", "This single sign-on was switched off meanwhile.", "Sign in with your password.")
        claims = _ask_provider(request, row, oidc.Attempt(**begun["attempt"]))
        user = services_sso.admit(
            connection=row, claims=claims, address=client_address(request), invitation=begun["invitation"]
        )
    except UserError as error:
        return _failed(request, error, row)
    if request.user.is_authenticated:
        logout(request)
    record_authentication(request, user, sso.METHOD, organization=str(tenant))
    response: HttpResponseBase = perform_login(
        request,
        user,
        redirect_url=begun["next"] or None,
        signal_kwargs={sso.METHOD: str(row.pk)},
        email=user.email,
    )
    return response


def sso_demanded(request: HttpRequest, connection: SsoConnection, user: User) -> HttpResponse:
    """The right password or passkey, and the wrong door."""
    clear_login(request)
    context = {"organization": connection.organization, "email": user.email, "next": next_path(request)}
    return render(request, "account/sso_demanded.html", context, status=403)


def _take_attempt(request: HttpRequest, tenant: UUID) -> dict[str, Any]:
    """What this browser began, once."""
    attempts: dict[str, Any] = request.session.get(ATTEMPTS, {})
    begun: dict[str, Any] | None = attempts.pop(request.GET.get("state", ""), None)
    if begun is not None:
        request.session[ATTEMPTS] = attempts
    now = timezone.now().timestamp()
    if begun is None or begun["organization"] != str(tenant) or now - begun["at"] > LIFETIME_SECONDS:
        raise UserError(
            "SsoNotBegun",
            "This sign-in was not begun in this browser, is over, or took too long.",
            "Begin again from the page of sign-in.",
            status=400,
        )
    return begun


def _ask_provider(request: HttpRequest, connection: SsoConnection, attempt: oidc.Attempt) -> oidc.Claims:
    client = sso.client_of(connection)
    if word := request.GET.get("error"):
        raise UserError(
            "SsoRefused",
            f"The provider of {connection.organization} did not sign you in: {word[:60]}.",
            request.GET.get("error_description", "")[:300] or "Try again, or ask whoever manages it.",
            status=403,
        )
    if request.GET.get("iss", client.issuer) != client.issuer:
        raise UserError("SsoNotBegun", "This answer came from another provider.", "Begin again.", status=400)
    provider, _ = oidc.discover(client.issuer)
    return oidc.claims_of(provider, client, attempt, request.GET.get("code", ""))


def _failed(request: HttpRequest, error: UserError, connection: SsoConnection | None) -> HttpResponse:
    """The page that says what happened. Also in the log: nobody is told when a provider breaks."""
    logger.warning("Single sign-on %s failed: %s", connection.pk if connection else "unknown", error)
    return render(request, "account/sso_failed.html", {"error": error}, status=error.status)
