"""The two fences around every request: security headers on each answer, and an error page with a way on."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from portal.views import explained

GetResponse = Callable[[HttpRequest], HttpResponse]


class SecurityHeaders:
    """Send the content security policy and its companions with every answer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return fence(self.get_response(request))


def fence(response: HttpResponse) -> HttpResponse:
    """Add what no answer may lack. What is not meant to be kept (static files are) is kept by nobody."""
    response.headers.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
    response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
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
        return explained(request, exception)
