"""The way back from acting as somebody else. It begins on the operator's pages (``accounts.admin``)."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.access import signed_in_view
from accounts.impersonation import impersonation_of, leave, while_impersonating


@while_impersonating
@signed_in_view(("POST",))
def impersonation_stop(request: HttpRequest) -> HttpResponse:
    """Be oneself again, on the operator's page of the person."""
    row = impersonation_of(request)
    if row is None:
        return redirect("home")
    leave(request, row, "stopped")
    messages.success(request, f"You no longer act as {row.person}.")
    return redirect("admin:accounts_user_change", row.person_id)
