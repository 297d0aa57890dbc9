"""API tokens, across all organizations."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from accounts import audit, services_tokens
from accounts.admin_base import WithAudit
from accounts.models import ApiToken
from portal.admin import LookOnlyAdmin, Task


def _revoke(request: HttpRequest, token: ApiToken, _: str) -> str:
    services_tokens.revoke_token(actor=audit.staff_of(request), token=token, reason="revoked by the operator")
    return f"{token} opens nothing any more."


@admin.register(ApiToken)
class ApiTokenAdmin(WithAudit[ApiToken], LookOnlyAdmin[ApiToken]):
    """What programs sign in with. Nothing of their secrets is shown."""

    list_display = ["name", "client_id", "organization", "workspace", "role", "created_by", "last_used_at"]
    list_display += ["expires_at", "revoked_at"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), ("workspace", admin.EmptyFieldListFilter), "role"]
    list_select_related = ["organization", "workspace", "created_by"]
    search_fields = ["name", "client_id", "organization__name", "created_by__email"]
    ordering = ["-number"]
    fields = ["name", "client_id", "organization", "workspace", "role", "created_by", "created_at", "expires_at"]
    fields += ["last_used_at", "last_used_address", "revoked_at", "revoked_by"]
    tasks = [
        Task(
            "revoke",
            "Revoke",
            "It opens nothing from now on, and cannot be given back. Its organization sees this in its audit log.",
            _revoke,
            permission="accounts.change_apitoken",
            offered=lambda token: token.revoked_at is None,
            bulk=True,
            danger=True,
        )
    ]
