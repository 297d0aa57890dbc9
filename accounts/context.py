"""What every page knows of where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from accounts.impersonation import impersonation_of
from accounts.models import Membership, User
from accounts.permissions import organization_permissions


@dataclass(frozen=True)
class Place:
    """An organization to switch to."""

    name: str
    role: str
    url: str
    here: bool


def tenant(request: HttpRequest) -> dict[str, Any]:
    """The tenant of the page, the viewer's permissions in it, and the organizations to switch to."""
    user = getattr(request, "user", None)
    return {
        "organization": getattr(request, "organization", None),
        "workspace": getattr(request, "workspace", None),
        "marketplace": settings.PORTAL_MARKETPLACE,
        "terms_url": settings.PORTAL_TERMS_URL or reverse("accounts:terms"),
        "perms_here": getattr(request, "permissions", frozenset()),
        "impersonation": impersonation_of(request),
        "places": SimpleLazyObject(lambda: _places(request, user) if isinstance(user, User) else []),
    }


def _places(request: HttpRequest, user: User) -> list[Place]:
    """The organizations of a person. Each leads to the section that is open now, where their role there has it."""
    found = request.resolver_match
    in_organization = found is not None and set(found.kwargs) == {"organization"}
    section = found.view_name if found and in_organization and "GET" in getattr(found.func, "methods", ()) else ""
    needed = getattr(found.func, "required_permission", None) if found else None
    here = getattr(request, "organization", None)
    rows = Membership.objects.of(user).select_related("organization").order_by("organization__name")
    return [
        Place(
            name=row.organization.name,
            role=row.get_role_display(),
            url=reverse(
                section if section and needed in organization_permissions(row.role) else "workspaces:list",
                args=[row.organization_id],
            ),
            here=here is not None and row.organization_id == here.pk,
        )
        for row in rows.only("role", "organization__name")
    ]
