"""Mail on its way, and the lines of deployments: what belongs to the portal and not to an app."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from accounts import audit, services_staff
from accounts.admin_base import WithAudit
from portal.admin import LookOnlyAdmin, Task
from portal.models import DeploymentEvent, OutgoingMail


def _send_again(request: HttpRequest, outgoing: OutgoingMail, _: str) -> str:
    services_staff.send_again(actor=audit.staff_of(request), outgoing=outgoing)
    return f"The mail to {outgoing.to} is tried again at once."


@admin.register(OutgoingMail)
class OutgoingMailAdmin(WithAudit[OutgoingMail], LookOnlyAdmin[OutgoingMail]):
    """Mail that was sent, waits or was given up. Its text is sealed, and forgotten once it is sent."""

    list_display = ["created_at", "to", "subject", "attempts", "due_at", "sent_at", "failure"]
    list_filter = [("sent_at", admin.EmptyFieldListFilter), ("due_at", admin.EmptyFieldListFilter)]
    search_fields = ["to", "subject"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    tasks = [
        Task(
            "send-again",
            "Send again",
            "A worker tries it within seconds. What is past its time stays so: links in it may have expired.",
            _send_again,
            permission="portal.change_outgoingmail",
            offered=lambda outgoing: outgoing.sent_at is None and bool(outgoing.sealed),
            bulk=True,
        )
    ]


@admin.register(DeploymentEvent)
class DeploymentEventAdmin(LookOnlyAdmin[DeploymentEvent]):
    """The lines in the details of workspaces, clusters and runs. ``subject`` is the id of one of them."""

    list_display = ["at", "subject", "level", "step", "message"]
    list_filter = ["level"]
    search_fields = ["subject"]
    search_help_text = "The id of a workspace, a cluster or a run"
    ordering = ["-id"]
