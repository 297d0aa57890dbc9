"""How often something may be tried, and the page that says how long to wait. The counting is allauth's."""

from __future__ import annotations

import time
from math import ceil

from allauth.account import app_settings
from allauth.core.internal import ratelimit
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from accounts.addresses import normal_email
from portal.views import error_page

ACTIONS = {
    "account_change_password": "change_password",
    "account_email": "manage_email",
    "account_login": "login",
    "account_reauthenticate": "reauthenticate",
    "account_reset_password": "reset_password",
    "account_reset_password_from_key": "reset_password_from_key",
    "account_set_password": "change_password",
    "account_signup": "signup",
}
"""What allauth counts at which of its addresses."""


def refuse(request: HttpRequest, action: str, *, key: str = "") -> HttpResponse | None:
    """Count one try; the page to answer with when there were too many. ``key`` is whom it is about, such as an address.

    ``ACCOUNT_RATE_LIMITS`` has the actions and their rates.
    """
    if ratelimit.consume(request, app="allauth.account", action=action, key=key.lower(), limit_get=True):
        return None
    return too_many(request, action=action, key=key)


def take(action: str, key: str) -> bool:
    """Count one try of an action whose rates are all by ``key``, for services, which know no request; False when there
    were too many."""
    return bool(ratelimit.consume(HttpRequest(), app="allauth.account", action=action, key=key, limit_get=True))


def too_many(
    request: HttpRequest, exception: Exception | None = None, *, action: str = "", key: str = ""
) -> HttpResponse:
    """429, for allauth's pages too: how long to wait, as ``Retry-After`` and in words."""
    action = action or ACTIONS.get(getattr(request.resolver_match, "url_name", "") or "", "")
    seconds = _seconds_left(request, action, key or normal_email(request.POST.get("email", ""))) if action else 60
    response = error_page(
        request,
        429,
        code="TooManyRequests",
        message="This was tried too often in a short time.",
        hint=f"Wait {_in_words(seconds)}, then try again.",
    )
    response.headers["Retry-After"] = str(seconds)
    return response


def _seconds_left(request: HttpRequest, action: str, key: str) -> int:
    """Until the action is allowed again, at least 1."""
    left = 1.0
    now = time.time()
    for rate in ratelimit.parse_rates(app_settings.RATE_LIMITS.get(action)):
        if rate.per == "user" and not request.user.is_authenticated:
            continue
        name = ratelimit.get_cache_key(request, app="allauth.account", action=action, rate=rate, key=key.lower())
        tries = [at for at in cache.get(name, []) if at > now - rate.duration]  # newest first
        if len(tries) >= rate.amount:
            left = max(left, tries[rate.amount - 1] + rate.duration - now)
    return ceil(left)


def _in_words(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} second{'s' if seconds > 1 else ''}"
    minutes = ceil(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{ceil(minutes / 60)} hours"
