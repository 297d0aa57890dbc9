"""The operator's view of rates and usage."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from billing.models import Rate, UsageInterval


@admin.register(Rate)
class RateAdmin(admin.ModelAdmin[Rate]):
    """Rates. A new price is a new row; intervals keep the rate they started with."""

    list_display = ["provider", "instance_type", "hourly", "valid_from", "valid_to"]
    list_filter = ["provider"]
    search_fields = ["instance_type"]


@admin.register(UsageInterval)
class UsageIntervalAdmin(admin.ModelAdmin[UsageInterval]):
    """What was used; derived from the ledger, so only to look at."""

    list_display = ["organization", "cluster", "started_at", "ended_at", "instance_type", "instances", "hourly"]
    list_select_related = ["organization", "cluster"]
    search_fields = ["cluster__name", "organization__name"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Derived."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: UsageInterval | None = None) -> bool:
        """Derived."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UsageInterval | None = None) -> bool:
        """Derived."""
        return False
