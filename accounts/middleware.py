"""What stands between a remembered session and the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRefresh

from accounts import lockout, terms
from accounts.impersonation import is_impersonating
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


class NewTerms:
    """Ask somebody who is signed in for the terms of today at the next page, when these have changed meanwhile.

    Public pages and the way out stay open. Staff who act as a person meet them when they stop: they accept for nobody
    else.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """What was asked for is not done; the page of the terms leads back to it."""
        if not isinstance(request.user, User) or terms.accepted_by(request.user) or is_impersonating(request):
            return None
        if getattr(view, "required_permission", None) == "public" or request.path == reverse("account_logout"):
            return None
        if request.headers.get("HX-Request"):
            return HttpResponseClientRefresh()  # a part of a page that was open before; anew, it is the terms
        if request.method in {"GET", "HEAD"}:
            back = request.get_full_path()
        else:
            messages.warning(request, "What you last sent was not done. Accept the terms, then send it again.")
            back = _sender(request)
        return redirect(f"{reverse('accounts:terms')}?{urlencode({'next': back})}")


def _sender(request: HttpRequest) -> str:
    """The path of the page that sent a form; empty where the browser does not say, or nonsense."""
    try:
        sender = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return ""
    return f"{sender.path}?{sender.query}" if sender.query else sender.path
