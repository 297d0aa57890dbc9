"""The operator's view of runs."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from jobs.models import Run


@admin.register(Run)
class RunAdmin(admin.ModelAdmin[Run]):
    """Runs; to be looked at."""

    list_display = ["name", "workspace", "cluster", "status", "reason", "created_at", "started_at", "ended_at"]
    list_filter = ["status", "reason"]
    list_select_related = ["workspace", "cluster"]
    search_fields = ["name", "id", "cluster__name"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are submitted in their workspace."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Only to look."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """A deleted row would leak its process."""
        return False
