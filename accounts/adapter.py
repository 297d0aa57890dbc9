"""How allauth's flows meet our users."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Sign-up can be closed by the operator."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether people may sign up by themselves (PORTAL_SIGNUP_OPEN)."""
        return bool(settings.PORTAL_SIGNUP_OPEN)

    def populate_username(self, request: HttpRequest, user: Any) -> None:
        """Users have no name but their e-mail address."""
