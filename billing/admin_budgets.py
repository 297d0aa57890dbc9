"""The operator's view of budgets, of what is set aside, and of what people were told."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin_base import WithAudit
from billing.models import Budget, BudgetNotice, BudgetOverride, SpendHold
from portal.admin import LookOnlyAdmin


@admin.register(Budget)
class BudgetAdmin(WithAudit[Budget], LookOnlyAdmin[Budget]):
    """Budgets. Those who pay write them, on their organization's pages."""

    list_display = ["organization", "workspace", "user", "limit", "warn_percent", "pauses", "reserve_hours"]
    list_select_related = ["organization", "workspace", "user"]
    search_fields = ["organization__name", "workspace__name", "user__email"]
    ordering = ["organization__name"]


@admin.register(BudgetOverride)
class BudgetOverrideAdmin(LookOnlyAdmin[BudgetOverride]):
    """What owners gave more."""

    list_display = ["budget", "month", "extra", "reason", "given_by", "created_at", "ended_at"]
    list_select_related = ["budget__organization", "budget__workspace", "budget__user"]
    search_fields = ["budget__organization__name", "reason"]
    ordering = ["-created_at"]


@admin.register(SpendHold)
class SpendHoldAdmin(LookOnlyAdmin[SpendHold]):
    """What is set aside for clusters, and was."""

    list_display = ["cluster", "workspace", "instances", "hourly", "began_at", "until", "released_at", "released_why"]
    list_filter = [("released_at", admin.EmptyFieldListFilter)]
    list_select_related = ["cluster", "workspace"]
    search_fields = ["cluster__name", "organization__name"]
    ordering = ["-created_at"]


@admin.register(BudgetNotice)
class BudgetNoticeAdmin(LookOnlyAdmin[BudgetNotice]):
    """What people were told of budgets."""

    list_display = ["budget", "month", "step", "hold", "created_at", "acts_at", "acted_at", "withdrawn_at"]
    list_filter = ["step"]
    list_select_related = ["budget__organization", "budget__workspace", "budget__user", "hold__cluster"]
    search_fields = ["budget__organization__name"]
    ordering = ["-created_at"]
