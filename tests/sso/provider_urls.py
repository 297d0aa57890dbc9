"""What the provider of the tests answers."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import get_application_model
from oauth2_provider.oauth2_validators import OAuth2Validator

claims: dict[str, Any] = {}
"""What to say of everybody in ID tokens instead of the truth; None leaves a claim out."""

userinfo: dict[str, Any] = {}
"""The same for the userinfo endpoint."""


class Validator(OAuth2Validator):  # type: ignore[misc]
    """Puts e-mail and name into ID tokens, as most providers do, and the faults that a test asked for."""

    oidc_claim_scope = None

    def get_additional_claims(self, request: Any) -> dict[str, Any]:
        """Of the person."""
        user = request.user
        return {
            "email": user.email,
            "email_verified": True,
            "given_name": user.first_name,
            "family_name": user.last_name,
        }

    def get_id_token_dictionary(self, token: Any, token_handler: Any, request: Any) -> Any:
        """The whole of an ID token."""
        found, expires = super().get_id_token_dictionary(token, token_handler, request)
        return _with(found, claims), expires

    def get_userinfo_claims(self, request: Any) -> dict[str, Any]:
        """The answer of the userinfo endpoint."""
        return _with(super().get_userinfo_claims(request), userinfo)


def _with(found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


@csrf_exempt
def control(request: HttpRequest, what: str) -> JsonResponse:
    """What an administrator of the provider does."""
    given: dict[str, Any] = json.loads(request.body or "{}")
    answer: dict[str, Any] = {}
    match what:
        case "client":
            application = get_application_model()(
                name="portal",
                client_type="confidential",
                authorization_grant_type="authorization-code",
                algorithm="RS256",
                skip_authorization=True,
                redirect_uris=given["redirect_uri"],
            )
            answer = {"client_id": application.client_id, "client_secret": application.client_secret}
            application.save()
        case "person":
            User.objects.filter(username=given["username"]).delete()
            user = User.objects.create_user(**given)
            answer = {"subject": str(user.pk)}
        case "faults":
            claims.clear()
            claims.update(given.get("claims", {}))
            userinfo.clear()
            userinfo.update(given.get("userinfo", {}))
    return JsonResponse(answer)


urlpatterns = [
    path("o/", include("oauth2_provider.urls")),
    path("accounts/login/", LoginView.as_view()),
    path("control/<slug:what>/", control),
]
