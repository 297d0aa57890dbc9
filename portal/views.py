"""Pages that belong to no app: errors and the health check."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

TITLES = {
    400: "That request could not be read",
    403: "You do not have the permission",
    404: "There is nothing here",
    409: "That cannot be done now",
    413: "That is too large",
    422: "Something needs your attention",
    500: "Something went wrong on our side",
    502: "The cloud said no",
    503: "Back in a moment",
}


def error_page(request: HttpRequest | None, status: int, **context: object) -> HttpResponse:
    """An error as a page, or as its inner part where htmx asked. Needs neither the database nor a user."""
    context = {"status": status, "title": TITLES.get(status, TITLES[500]), **context}
    return HttpResponse(render_to_string("error.html", context), status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400."""
    return error_page(
        request,
        400,
        code="BadRequest",
        message="The address or form was not as expected.",
        hint="Go back and try again.",
    )


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403 without a known role that would help."""
    return error_page(
        request, 403, code="Forbidden", message="You may not do this.", hint="Go back to your workspaces."
    )


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404, also for everything that belongs to somebody else."""
    return error_page(
        request,
        404,
        code="NotFound",
        message="The page does not exist, or belongs to an organization or workspace that you are not in.",
        hint="Check the address, or go back to your workspaces.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return error_page(
        request,
        500,
        code="InternalError",
        message="The portal made a mistake. It is in the log.",
        hint="Try again; if it happens again, tell your operator the time and the address of this page.",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 of the CSRF check: most often a form left open while signing in elsewhere."""
    return error_page(
        request,
        403,
        code="FormExpired",
        message="This form is from an earlier sign-in and was not sent.",
        hint="Reload the page and send it again.",
    )


def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the web process can reach the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok", content_type="text/plain")
