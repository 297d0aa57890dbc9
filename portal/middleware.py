"""The two fences around every request: security headers on each answer, and an error page with a way on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from psycopg_pool import PoolTimeout

from portal.clouds.base import CloudError
from portal.errors import PermissionNeededError, UserError
from portal.views import error_page

logger = logging.getLogger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponse]


class SecurityHeaders:
    """Send the content security policy and its companions with every answer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if "text/html" in response.headers.get("Content-Type", ""):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class ErrorPages:
    """Turn what went wrong into a page that says what happened and what to do."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The page for errors we know; None leaves the rest to Django's own handlers, whose pages are ours too."""
        match exception:
            case UserError():
                return error_page(
                    request, exception.status, code=exception.code, message=exception.message, hint=exception.hint
                )
            case PermissionNeededError():
                return error_page(
                    request,
                    403,
                    code="PermissionNeeded",
                    message=f"This needs the role {exception.role_needed}.",
                    hint="Ask one of these people to give it to you.",
                    role_needed=exception.role_needed,
                    who_can=exception.who_can,
                )
            case CloudError():
                return error_page(request, 502, code=exception.code, message=exception.message, hint=exception.hint)
            case OperationalError() | InterfaceError() | PoolTimeout():
                logger.exception("The database did not answer")
                return error_page(
                    request,
                    503,
                    code="DatabaseUnavailable",
                    message="The portal cannot reach its database at the moment.",
                    hint="Nothing was lost. Go back and try again in a few seconds.",
                )
        return None
