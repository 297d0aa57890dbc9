"""What stands between a remembered session and the pages."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts import lockout
from accounts.models import User
from accounts.views_lockout import locked_out


class Lockout:
    """End the session of somebody who was locked out meanwhile.

    Before ``accounts.impersonation.ImpersonationMiddleware``, which looks at the person as whom staff acts: this one
    looks at who signed in.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if isinstance(request.user, User) and lockout.is_locked(request.user):
            return locked_out(request)
        return self.get_response(request)
