"""Sign-ups under way."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit, services_staff
from accounts.admin_base import WithAudit
from accounts.models import PendingSignup
from portal.admin import LookOnlyAdmin, Task


def _send_activation(request: HttpRequest, pending: PendingSignup, _: str) -> str:
    services_staff.send_activation_again(actor=audit.staff_of(request), pending=pending)
    return f"The activation link goes to {pending.email} once more."


@admin.register(PendingSignup)
class PendingSignupAdmin(WithAudit[PendingSignup], LookOnlyAdmin[PendingSignup]):
    """Sign-ups whose link was not opened yet, or whose organization is still to be made."""

    list_display = ["created_at", "email", "organization_name", "subscription", "expires_at", "user"]
    list_filter = [("user", admin.EmptyFieldListFilter), ("subscription", admin.EmptyFieldListFilter)]
    list_select_related = ["subscription", "user"]
    search_fields = ["email", "organization_name", "first_name", "last_name"]
    ordering = ["-created_at"]
    fields = ["email", "first_name", "last_name", "organization_name", "terms_version", "subscription", "user"]
    fields += ["created_at", "expires_at"]
    tasks = [
        Task(
            "send-activation",
            "Send activation again",
            "The link goes to the address once more. It works for as long as it would have anyway.",
            _send_activation,
            permission="accounts.change_pendingsignup",
            offered=lambda pending: pending.user_id is None and pending.expires_at > timezone.now(),
            bulk=True,
        )
    ]
