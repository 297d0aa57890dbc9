"""Staff acting as a person, in the requests of a browser.

The session stays the staff member's own and holds the number of an ``Impersonation``; the middleware here puts the
person in the place of ``request.user``. Nobody signs in as anybody: no sign-in is counted (dormancy goes by them), the
person gets no session and loses none, and whatever ends the staff member's session ends this.

What is the person's alone stays shut: only pages of an organization or workspace are open, without those that need
``ORG_MANAGE`` or are marked with ``not_while_impersonating``. A new page outside of tenants is shut until somebody
marks it with ``while_impersonating``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect

from accounts import lockout, terms
from accounts.audit import actor_of
from accounts.models import Impersonation, User
from accounts.permissions import Perm
from accounts.services_impersonation import TIME_IS_UP, end_impersonation, why_not
from portal.views import error_page

SESSION_KEY = "impersonation"
WITHHELD = frozenset({Perm.ORG_MANAGE, Perm.BUDGET_LIFT})
"""What staff cannot do as somebody else, whatever role that person has."""

V = TypeVar("V", bound=Callable[..., Any])


def is_impersonating(request: HttpRequest) -> bool:
    """Whether staff acts as the person that ``request.user`` names."""
    return impersonation_of(request) is not None


def impersonation_of(request: HttpRequest) -> Impersonation | None:
    """What this request is a part of, with its ``staff`` and ``person``."""
    row: Impersonation | None = getattr(request, "impersonation", None)
    return row


def permitted(request: HttpRequest, permissions: frozenset[Perm]) -> frozenset[Perm]:
    """The permissions of a role, without those that are withheld from staff who act as its holder."""
    return permissions - WITHHELD if is_impersonating(request) else permissions


def not_while_impersonating(view: V) -> V:
    """Mark a view of a tenant that staff cannot reach as somebody else: it shows or makes secrets."""
    view.while_impersonating = False  # type: ignore[attr-defined]
    return view


def while_impersonating(view: V) -> V:
    """Mark a view outside of tenants that staff may use as somebody else."""
    view.while_impersonating = True  # type: ignore[attr-defined]
    return view


def begin(request: HttpRequest, impersonation: Impersonation) -> None:
    """From the next request on, this browser acts as that person."""
    request.session[SESSION_KEY] = impersonation.pk


def leave(request: HttpRequest, impersonation: Impersonation, why: str) -> None:
    """Be the staff member again. ``why`` goes into the audit log."""
    end_impersonation(actor=actor_of(request), impersonation=impersonation, why=why)
    request.session.pop(SESSION_KEY, None)
    request.user = impersonation.staff
    del request.impersonation  # type: ignore[attr-defined]


def acting_user(request: HttpRequest) -> User | None:
    """The person whose rights count in a request that has passed no middleware but has a session."""
    user = get_user(request)
    if not isinstance(user, User) or lockout.is_locked(user):
        return None
    row = _find(request, user)
    if row is None:
        return user if terms.accepted_by(user) else None
    return None if _over(row) else row.person


class ImpersonationMiddleware:
    """Act as the person, shut the doors that are theirs alone, and stop when the time is up.

    After ``accounts.sessions.SessionLimits``, which looks at the session of who signed in: the staff member's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and SESSION_KEY in request.session:
            row = _find(request, request.user)
            if row is None:
                del request.session[SESSION_KEY]
            elif why := _over(row):
                return _stopped(request, row, why)
            else:
                _act(request, row)
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Refuse what is the person's alone."""
        row = impersonation_of(request)
        if row is None or _is_open(request, view):
            return None
        if request.path == reverse("account_logout"):
            if request.method == "POST":
                leave(request, row, "the staff member signed out")
            return None
        return error_page(
            request,
            403,
            title="Not while you act as somebody else",
            code="NotWhileImpersonating",
            message=f"You act as {row.person}, and this is for {row.person} alone.",
            hint="Passwords, addresses, second factors, sessions, tokens, secrets, single sign-on, owners and the "
            "operator's pages are closed to staff who act as somebody else. Stop acting first.",
        )


def _find(request: HttpRequest, user: object) -> Impersonation | None:
    number = request.session.get(SESSION_KEY)
    if number is None or not isinstance(user, User):
        return None
    return Impersonation.objects.filter(pk=number, staff=user).select_related("staff", "person").first()


def _over(row: Impersonation) -> str:
    """Why it cannot go on; empty while it can. Asked at each request: rights go while it lasts."""
    if row.is_over(timezone.now()):
        return TIME_IS_UP
    return why_not(row.staff, row.person).rstrip(".")


def _act(request: HttpRequest, row: Impersonation) -> None:
    request.impersonation = row  # type: ignore[attr-defined]
    request.user = row.person

    async def auser() -> User:
        return row.person

    request.auser = auser


def _stopped(request: HttpRequest, row: Impersonation, why: str) -> HttpResponse:
    """What was asked for is not done: it would be done as somebody else than the page said."""
    request.impersonation = row  # type: ignore[attr-defined]
    leave(request, row, why)
    messages.warning(request, f"You no longer act as {row.person}: {why}. What you last asked for was not done.")
    where = reverse("admin:accounts_user_change", args=[row.person_id])
    return HttpResponseClientRedirect(where) if "HX-Request" in request.headers else redirect(where)


def _is_open(request: HttpRequest, view: Callable[..., Any]) -> bool:
    required = getattr(view, "required_permission", None)
    marked: bool | None = getattr(view, "while_impersonating", None)
    if marked is not None:
        return marked
    if isinstance(required, Perm):
        return required not in WITHHELD
    return required == "public" and request.method in {"GET", "HEAD"}
