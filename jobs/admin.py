"""The operator's view of jobs. What a job does (its text, arguments and parameters) is the customer's, and not here:
staff who needs to see it acts as somebody who may, which leaves a trace."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin_base import WithAudit
from jobs.models import JobSchedule, JobTemplate, Run, RunAttempt, ScheduleFire
from portal.admin import RECONCILED, LookOnlyAdmin

CUSTOMERS = ["sql", "arguments", "parameters", "secret_groups"]


@admin.register(Run)
class RunAdmin(WithAudit[Run], LookOnlyAdmin[Run]):
    """Runs, with what their reconciler is at."""

    list_display = ["name", "workspace", "cluster", "status", "reason", "created_at", "started_at", "ended_at"]
    list_filter = ["status", "reason"]
    list_select_related = ["workspace", "cluster"]
    search_fields = ["name", "id", "cluster__name"]
    ordering = ["-number"]
    exclude = CUSTOMERS
    readonly_fields = RECONCILED


@admin.register(RunAttempt)
class RunAttemptAdmin(LookOnlyAdmin[RunAttempt]):
    """The processes of runs."""

    list_display = ["run", "number", "status", "reason", "exit_code", "started_at", "ended_at"]
    list_filter = ["status"]
    list_select_related = ["run"]
    search_fields = ["run__name", "run__id"]
    ordering = ["-id"]
    readonly_fields = ["handle"]


@admin.register(JobTemplate)
class JobTemplateAdmin(WithAudit[JobTemplate], LookOnlyAdmin[JobTemplate]):
    """Templates of jobs."""

    list_display = ["name", "workspace", "code_type", "source_type", "updated_at", "deleted_at"]
    list_filter = ["code_type", "source_type", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["workspace"]
    search_fields = ["name", "id", "workspace__name"]
    ordering = ["-number"]
    exclude = CUSTOMERS


@admin.register(JobSchedule)
class JobScheduleAdmin(WithAudit[JobSchedule], LookOnlyAdmin[JobSchedule]):
    """Schedules, with when they fire next."""

    list_display = ["name", "workspace", "template", "cron", "timezone", "enabled", "next_fire_at", "deleted_at"]
    list_filter = ["enabled", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["workspace", "template"]
    search_fields = ["name", "id", "workspace__name", "template__name"]
    ordering = ["-number"]


@admin.register(ScheduleFire)
class ScheduleFireAdmin(LookOnlyAdmin[ScheduleFire]):
    """What became of each time that a schedule was to fire."""

    list_display = ["fire_at", "schedule", "outcome", "run", "missed", "detail"]
    list_filter = ["outcome"]
    list_select_related = ["schedule", "run"]
    search_fields = ["schedule__name", "schedule__id"]
    ordering = ["-id"]
