"""The one way into an organization's pages: find the tenant or 404, check the permission or say who can give it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRefresh

from accounts.impersonation import permitted
from accounts.models import Membership, Organization, User
from accounts.permissions import ORGANIZATION_MATRIX, OrganizationRole, Perm, organization_permissions
from accounts.second_factor import WAY_BACK, SecondFactorNeededError, demand_second_factor
from portal.errors import PermissionNeededError

View = Callable[..., HttpResponseBase]


class OrganizationRequest(HttpRequest):
    """A request that has passed ``organization_view``."""

    user: User
    organization: Organization
    organization_role: str
    permissions: frozenset[Perm]


def membership_of(user: User, organization_id: UUID) -> Membership:
    """The membership through which a user sees an organization; 404 for outsiders."""
    rows = Membership.objects.of(user).filter(organization_id=organization_id)
    membership = rows.select_related("organization").first()
    if membership is None:
        raise Http404
    return membership


def enter(request: Any, organization_id: UUID) -> Membership:
    """The membership through which the sender of a request enters an organization; 404 for outsiders.

    Raises SecondFactorNeededError.
    """
    membership = membership_of(request.user, organization_id)
    demand_second_factor(request, membership.organization)
    return membership


def _enter_without(request: Any, organization_id: UUID) -> Membership:
    return membership_of(request.user, organization_id)


def second_factor_needed(request: HttpRequest, organization: Organization) -> HttpResponse:
    """The page that says so, and leads to a second factor and back."""
    if getattr(request, "htmx", False):
        return HttpResponseClientRefresh()  # a part of a page that was open before; anew, it is this page
    if request.method == "GET":
        request.session[WAY_BACK] = request.get_full_path()
    request.organization = organization  # type: ignore[attr-defined]
    return render(request, "accounts/second_factor_needed.html", status=403)


def refuse(perm: Perm, organization: Organization) -> PermissionNeededError:
    """The refusal that names the role an organization permission needs, and who can give it."""
    roles = ORGANIZATION_MATRIX[perm]
    needed = " or ".join(OrganizationRole(role).label for role in OrganizationRole if role in roles)
    return PermissionNeededError(role_needed=f"{needed} of {organization}", who_can=people_who_manage(organization))


def people_who_manage(organization: Organization) -> list[str]:
    """Owners and admins by name and e-mail address."""
    rows = Membership.objects.in_organization(organization).filter(role__in=ORGANIZATION_MATRIX[Perm.PEOPLE_MANAGE])
    return [f"{row.user.get_full_name()} <{row.user.email}>" for row in rows[:10]]


def organization_view(
    perm: Perm, methods: tuple[str, ...] = ("GET", "HEAD"), *, second_factor: bool = True
) -> Callable[[View], View]:
    """Decorate a view whose first URL argument is an organization's id.

    The view gets the ``Organization`` in its place; ``request`` gains ``organization``, ``organization_role`` and
    ``permissions``. Without ``second_factor`` it is open also to who has none where the organization asks for one: for
    what shows nothing and only takes away.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def wrapped(request: Any, organization: UUID, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                membership = (enter if second_factor else _enter_without)(request, organization)
            except SecondFactorNeededError as error:
                return second_factor_needed(request, error.organization)
            request.organization = membership.organization
            request.organization_role = membership.role
            request.permissions = permitted(request, organization_permissions(membership.role))
            if perm not in request.permissions:
                raise refuse(perm, membership.organization)
            return view(request, membership.organization, *args, **kwargs)

        wrapped.required_permission = perm  # type: ignore[attr-defined]
        wrapped.methods = methods  # type: ignore[attr-defined]
        return login_required(require_http_methods(methods)(wrapped))

    return decorate


def public_view(methods: tuple[str, ...] = ("GET", "HEAD")) -> Callable[[View], View]:
    """Mark a view that anybody may see."""

    def decorate(view: View) -> View:
        view.required_permission = "public"  # type: ignore[attr-defined]
        return require_http_methods(methods)(view)

    return decorate


def signed_in_view(methods: tuple[str, ...] = ("GET", "HEAD")) -> Callable[[View], View]:
    """Mark a view for every signed-in person, in no tenant."""

    def decorate(view: View) -> View:
        view.required_permission = "signed_in"  # type: ignore[attr-defined]
        return login_required(require_http_methods(methods)(view))

    return decorate
