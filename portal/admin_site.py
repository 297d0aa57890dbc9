"""The operator's pages: Django's admin behind the portal's own sign-in."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class OperatorSite(AdminSite):
    """For active staff with a second factor (PORTAL_STAFF_MFA): whoever gets in here gets everywhere."""

    site_header = site_title = "Bodo Cloud Platform"
    index_title = "The operator's pages"

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff; sign-in asks those who have a second factor for it, so having one is enough."""
        return super().has_permission(request) and not _lacks_factor(request)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """There is one sign-in, with its limits. Staff without a second factor is led to where one is made."""
        if request.user.is_active and request.user.is_staff and _lacks_factor(request):
            messages.warning(request, "The operator's pages need a second factor. Set one up here, then come back.")
            return redirect("mfa_index")
        response: HttpResponse = secure_admin_login(super().login)(request, extra_context)
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The one that everybody has."""
        return redirect("account_change_password")


_FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
"""Recovery codes alone are none."""


def _lacks_factor(request: HttpRequest) -> bool:
    return bool(settings.PORTAL_STAFF_MFA) and not is_mfa_enabled(request.user, _FACTORS)
