"""The operator's view of notebook servers. Nobody enters one from here."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin_base import WithAudit
from notebooks.models import NotebookServer, NotebookTicket, NotebookVisit
from portal.admin import RECONCILED, LookOnlyAdmin


@admin.register(NotebookServer)
class NotebookServerAdmin(WithAudit[NotebookServer], LookOnlyAdmin[NotebookServer]):
    """Notebook servers, with what their reconciler is at."""

    list_display = ["user", "workspace", "status", "target", "image", "size", "last_activity_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["workspace", "user"]
    search_fields = ["id", "user__email", "workspace__name", "workspace__organization__name"]
    date_hierarchy = "created_at"
    readonly_fields = [*RECONCILED]


@admin.register(NotebookTicket)
class NotebookTicketAdmin(LookOnlyAdmin[NotebookTicket]):
    """Ways in that were handed over and not used yet."""

    list_display = ["made_at", "server"]
    list_select_related = ["server__user"]
    search_fields = ["server__id", "server__user__email"]
    exclude = ["key_hash", "session_key"]


@admin.register(NotebookVisit)
class NotebookVisitAdmin(LookOnlyAdmin[NotebookVisit]):
    """Browsers that are in a notebook server."""

    list_display = ["came_at", "server"]
    list_select_related = ["server__user"]
    search_fields = ["server__id", "server__user__email"]
    exclude = ["key_hash", "session_key"]
