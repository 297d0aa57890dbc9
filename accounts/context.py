"""What every page knows of where it is."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.impersonation import impersonation_of
from accounts.models import Organization, User


def tenant(request: HttpRequest) -> dict[str, Any]:
    """The tenant of the page, the viewer's permissions in it, and the organizations to switch to."""
    user = getattr(request, "user", None)
    return {
        "organization": getattr(request, "organization", None),
        "workspace": getattr(request, "workspace", None),
        "perms_here": getattr(request, "permissions", frozenset()),
        "impersonation": impersonation_of(request),
        "organizations": SimpleLazyObject(
            lambda: list(Organization.objects.of(user)) if isinstance(user, User) else []
        ),
    }
