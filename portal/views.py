"""Pages that belong to no app: errors and the health check."""

from __future__ import annotations

import errno
import logging
import sys

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import DataError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from psycopg_pool import PoolTimeout

from portal.clouds.base import CloudError
from portal.errors import PermissionNeededError, UserError

logger = logging.getLogger(__name__)

TITLES = {
    400: "That request could not be read",
    403: "You do not have the permission",
    404: "There is nothing here",
    409: "That cannot be done now",
    410: "This link no longer works",
    413: "That is too large",
    422: "Something needs your attention",
    429: "Too many tries",
    500: "Something went wrong on our side",
    502: "The cloud said no",
    503: "Back in a moment",
    507: "The disk is full",
}


def error_page(request: HttpRequest | None, status: int, **context: object) -> HttpResponse:
    """An error as a page, or as its inner part where htmx asked. Needs neither the database nor a user."""
    context = {"status": status, "title": TITLES.get(status, TITLES[500]), **context}
    if request and (impersonation := getattr(request, "impersonation", None)):  # every page says so
        context |= {"impersonation": impersonation, "csrf_token": get_token(request)}
    return HttpResponse(render_to_string("error.html", context), status=status)


def explained(request: HttpRequest | None, exception: BaseException | None) -> HttpResponse | None:
    """The page for an error that we know, wherever it was raised; None for all others."""
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
                who_can=exception.who_can,
            )
        case CloudError():
            return error_page(request, 502, code=exception.code, message=exception.message, hint=exception.hint)
        case OperationalError() | InterfaceError() | PoolTimeout():
            logger.error("The database did not answer", exc_info=exception)
            return error_page(
                request,
                503,
                code="DatabaseUnavailable",
                message="The portal cannot reach its database at the moment.",
                hint="Nothing was lost. Go back and try again in a few seconds.",
            )
        case DataError() if "NUL" in str(exception):
            # PostgreSQL stores no NUL. Forms refuse it; what is left are forged cookies and keys.
            return bad_request(request)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            logger.error("The disk of the portal is full", exc_info=exception)
            return error_page(
                request,
                507,
                code="DiskFull",
                message="This was not saved: the disk is full.",
                hint="Delete files that are no longer needed, or tell your operator. Then try again.",
            )
    return None


def bad_request(request: HttpRequest | None, exception: Exception | None = None) -> HttpResponse:
    """400; 413 where it was too much."""
    if isinstance(exception, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        return too_large(request)
    return error_page(
        request,
        400,
        code="BadRequest",
        message="The address or form was not as expected.",
        hint="Go back and try again.",
    )


def too_large(request: HttpRequest | None) -> HttpResponse:
    """413."""
    return error_page(
        request,
        413,
        code="TooLarge",
        message="More was sent than this page takes.",
        hint="Shorten the text. Large files go into the file browser of a workspace.",
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
    """500, or the page for an error that we know and that was raised outside a view."""
    return explained(request, sys.exc_info()[1]) or error_page(
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
