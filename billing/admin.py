"""The operator's view of rates and usage."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import audit
from accounts.admin_base import AuditedAdmin
from accounts.admin_organizations import facts
from accounts.models import Organization
from billing import admin_budgets, admin_marketplace, rates
from billing.dashboard import dashboard
from billing.models import (
    Alarm,
    AlarmChange,
    AlarmEndpoint,
    MeteredCluster,
    Rate,
    Saving,
    Statement,
    StatementLine,
    UsageDay,
    UsageInterval,
    UsageSample,
)
from billing.months import Month
from billing.totals import DIMENSIONS
from portal.admin import LookOnlyAdmin, link_to_list

__all__ = ["admin_budgets", "admin_marketplace"]


class RateForm(forms.ModelForm[Rate]):
    """A rate that ends after it begins."""

    def clean(self) -> dict[str, Any]:
        """Both ends together."""
        cleaned = super().clean() or {}
        start, end = cleaned.get("valid_from", self.instance.valid_from), cleaned.get("valid_to")
        if start and end and end <= start:
            self.add_error("valid_to", "It has to end after it begins.")
        elif "valid_to" in self.changed_data and end and _in_force(self.instance) and end <= timezone.now():
            self.add_error("valid_to", "It was charged until now: let it end at a time to come.")
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        """A new price ends the one before it, so that they overlap now and will not once it is saved. A constraint is
        not looked at while one of its fields is left out; Django has no other way to say so."""
        left_out: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return left_out if self.instance.pk else {*left_out, "instance_type"}


@admin.register(Rate)
class RateAdmin(AuditedAdmin[Rate]):
    """Rates. A new price is a new row, from a time on; intervals keep the rate they started with."""

    form = RateForm
    list_display = ["provider", "instance_type", "hourly", "valid_from", "valid_to"]
    list_filter = ["provider"]
    search_fields = ["instance_type"]
    date_hierarchy = "valid_from"
    ordering = ["provider", "instance_type", "-valid_from"]

    def save_model(self, request: HttpRequest, obj: Rate, form: forms.ModelForm[Rate], change: bool) -> None:
        """A new one the way that ``load_rates`` puts it."""
        if change:
            super().save_model(request, obj, form, change)
        else:
            put = {name: form.cleaned_data[name] for name in rates.COLUMNS}
            obj.pk = rates.put(actor=audit.staff_of(request), **put)[0].pk

    def record_save(self, request: HttpRequest, form: forms.ModelForm[Rate], change: bool) -> None:
        """``rates.put`` has written its own."""
        if change:
            super().record_save(request, form, change)

    def get_readonly_fields(self, request: HttpRequest, obj: Rate | None = None) -> list[str]:
        """What has been charged stays as it is; only its end can still be set."""
        return ["provider", "instance_type", "hourly", "valid_from"] if _in_force(obj) else []

    def has_delete_permission(self, request: HttpRequest, obj: Rate | None = None) -> bool:
        """Only one that has not begun. The action on many is not offered: it does not ask for each."""
        return obj is not None and not _in_force(obj) and super().has_delete_permission(request, obj)


def _in_force(rate: Rate | None) -> bool:
    return rate is not None and rate.pk is not None and rate.valid_from <= timezone.now()


@admin.register(UsageInterval)
class UsageIntervalAdmin(LookOnlyAdmin[UsageInterval]):
    """What was used; derived from the ledger."""

    list_display = ["organization", "workspace", "cluster", "started_at", "ended_at", "instance_type", "instances"]
    list_display += ["hourly"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization", "workspace", "cluster"]
    search_fields = ["cluster__name", "organization__name"]
    ordering = ["-started_at"]


@admin.register(UsageDay)
class UsageDayAdmin(LookOnlyAdmin[UsageDay]):
    """What the intervals that have ended come to by day."""

    list_display = ["day", "organization", "workspace", "cluster", "instance_type", "hourly", "minutes"]
    list_select_related = ["organization", "workspace", "cluster"]
    search_fields = ["cluster__name", "organization__name"]
    ordering = ["-day"]


@admin.register(Saving)
class SavingAdmin(LookOnlyAdmin[Saving]):
    """When idle clusters were let go, and until when nobody asked for them."""

    list_display = ["paused_at", "ended_at", "organization", "cluster", "instance_type", "instances", "hourly"]
    list_select_related = ["organization", "cluster"]
    search_fields = ["cluster__name", "organization__name"]
    date_hierarchy = "paused_at"
    ordering = ["-paused_at"]


@admin.register(Statement)
class StatementAdmin(LookOnlyAdmin[Statement]):
    """Months that were closed, for good."""

    list_display = ["first", "organization", "total", "line_count", "closed_at"]
    list_select_related = ["organization"]
    search_fields = ["organization__name"]
    ordering = ["-first"]


@admin.register(StatementLine)
class StatementLineAdmin(LookOnlyAdmin[StatementLine]):
    """Their lines; those of an earlier month than the statement's are corrections."""

    list_display = ["statement", "of", "workspace_name", "cluster_name", "instance_type", "hourly", "minutes"]
    list_select_related = ["statement__organization"]
    search_fields = ["cluster_name", "statement__organization__name"]
    ordering = ["-pk"]


@admin.register(MeteredCluster)
class MeteredClusterAdmin(LookOnlyAdmin[MeteredCluster]):
    """How far the intervals follow each ledger."""

    list_display = ["cluster", "ledger_length"]
    list_select_related = ["cluster"]
    search_fields = ["cluster__name"]


@admin.register(Alarm)
class AlarmAdmin(LookOnlyAdmin[Alarm]):
    """Usage alarms of cloud configurations."""

    list_display = ["name", "configuration", "status", "target", "state", "state_at", "threshold", "due_at"]
    list_filter = ["status", "state"]
    list_select_related = ["configuration"]
    search_fields = ["name", "configuration__name", "configuration__organization__name"]
    ordering = ["-created_at"]


@admin.register(AlarmEndpoint)
class AlarmEndpointAdmin(LookOnlyAdmin[AlarmEndpoint]):
    """Whom alarms tell."""

    list_display = ["address", "alarm", "state", "asked", "asked_at"]
    list_filter = ["state"]
    list_select_related = ["alarm"]
    search_fields = ["address", "alarm__name"]


@admin.register(AlarmChange)
class AlarmChangeAdmin(LookOnlyAdmin[AlarmChange]):
    """What alarms said."""

    list_display = ["at", "alarm", "number", "state", "reason", "told"]
    list_filter = ["state"]
    list_select_related = ["alarm"]
    search_fields = ["alarm__name"]
    ordering = ["-at"]


@admin.register(UsageSample)
class UsageSampleAdmin(LookOnlyAdmin[UsageSample]):
    """The metric that alarms on LOCAL watch."""

    list_display = ["minute", "configuration", "vcpus"]
    list_select_related = ["configuration"]
    search_fields = ["configuration__name", "configuration__organization__name"]
    ordering = ["-minute"]


@admin.display(description="Usage this month")
def usage_of(organization: Organization) -> SafeString:
    """What the organization's own billing page shows as its total."""
    now = timezone.now()
    month = dashboard(organization, Month.parse("", now.date()), now, DIMENSIONS["workspace"])
    every = link_to_list(UsageInterval, "all intervals", organization__id__exact=organization.pk)
    return format_html(
        "{} instance minutes, {} US dollars, {} running now; {}",
        f"{month.total.minutes:,}",
        f"{month.total.cost:,.2f}",
        month.open_count,
        every,
    )


facts.append(usage_of)
