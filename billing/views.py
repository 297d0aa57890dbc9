"""The pages of bills: a month, its intervals, and the ledger that proves each."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import MarketplaceSubscription, Organization
from accounts.permissions import Perm
from billing import dashboard, metering
from billing import export as usage_export
from billing.forms import ExportForm
from billing.models import UsageInterval
from billing.months import Month
from billing.usage import cost, minutes_between, minutes_within
from clusters.models import Cluster
from portal.errors import UserError
from portal.export import FORMATS, response
from portal.paging import page
from portal.snapshot import snapshot
from workspaces.models import Workspace

CURRENCY = "USD"


@organization_view(Perm.USAGE_VIEW)
def billing(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """What a month costs, by day and by what the reader wants to know."""
    metering.meter(organization)
    now = timezone.now()
    month = Month.parse(request.GET.get("month", ""), now.date())
    dimensions = dashboard.dimensions(organization)
    by = dimensions.get(request.GET.get("by", ""), dimensions["cluster"])
    workspace = _workspace(organization, request.GET.get("workspace", ""))
    with snapshot():
        shown = dashboard.dashboard(organization, month, now, by, workspace)
    context = {
        "nav": "billing",
        "month": month,
        "previous_month": month.previous,
        "next_month": month.next if month.end <= now else None,
        "shown": shown,
        "by": by,
        "dimensions": dimensions.values(),
        "workspace": workspace,
        "export": ExportForm(initial={"first": month.first, "last": month.days()[-1]}, auto_id="export_%s"),
        "currency": CURRENCY,
        "subscription": MarketplaceSubscription.objects.in_organization(organization).first(),
    }
    return render(request, "billing/dashboard.html", context)


@organization_view(Perm.USAGE_VIEW)
def intervals(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Every stretch of time that was charged in a month, newest first."""
    metering.meter(organization)
    now = timezone.now()
    month = Month.parse(request.GET.get("month", ""), now.date())
    rows = UsageInterval.objects.in_organization(organization).overlapping(month.start, month.end)
    cluster = _cluster(organization, request.GET.get("cluster", ""))
    if cluster:
        rows = rows.filter(cluster=cluster)
    shown = page(request, rows.select_related("cluster", "workspace"), key="id")
    context = {
        "nav": "billing",
        "month": month,
        "cluster": cluster,
        "page": shown,
        "intervals": [_charged(row, month, now) for row in shown.rows],
        "currency": CURRENCY,
    }
    return render(request, "billing/intervals.html", context)


@organization_view(Perm.USAGE_VIEW)
def interval(request: OrganizationRequest, organization: Organization, interval: int) -> HttpResponse:
    """One interval, and the lines of the ledger from which it follows."""
    rows = UsageInterval.objects.in_organization(organization).select_related("cluster", "workspace")
    row = get_object_or_404(rows, pk=interval)
    ended = row.ended_at or timezone.now()
    minutes = minutes_between(row.started_at, ended)
    lines = list(row.cluster.transitions.order_by("seq"))
    opened = next((line.seq for line in lines if line.at == row.started_at and line.kind != "REQUEST"), None)
    closed = next((line.seq for line in lines if line.at == row.ended_at and line.seq > (opened or 0)), None)
    first, last = opened or 1, closed or len(lines)
    context = {
        "nav": "billing",
        "interval": row,
        "minutes": minutes,
        "rate": f"{row.hourly.normalize():f}",
        "price": cost(minutes, row.instances, row.hourly),
        "seconds": (ended - row.started_at).total_seconds(),
        "lines": [line for line in lines if first - 3 <= line.seq <= last + 2],
        "opened": opened,
        "closed": closed,
        "currency": CURRENCY,
    }
    return render(request, "billing/interval.html", context)


@organization_view(Perm.USAGE_VIEW, ("POST",))
def export(request: OrganizationRequest, organization: Organization) -> HttpResponseBase:
    """The intervals of some days as a file. Taking them away is an event."""
    form = ExportForm(request.POST)
    if not form.is_valid():
        wrong = " ".join(str(error) for errors in form.errors.values() for error in errors)
        raise UserError(
            "DaysNotUnderstood",
            f"The usage was not exported: {wrong}",
            "Go back to the billing page and choose the days again.",
            status=422,
        )
    metering.meter(organization)
    days = usage_export.Range(form.cleaned_data["first"], form.cleaned_data["last"])
    file = FORMATS[form.cleaned_data["format"]]
    usage_export.note_export(actor=actor_of(request), organization=organization, days=days, format=file.suffix)
    rows = usage_export.batches(organization, days, timezone.now())
    return response(file, f"usage-{days.first}-{days.last}", usage_export.COLUMNS, rows)


def _charged(row: UsageInterval, month: Month, now: Any) -> dict[str, Any]:
    """An interval with the part of it that is charged in the month."""
    minutes = minutes_within(row.started_at, row.ended_at or max(now, row.started_at), month.start, month.end)
    return {"row": row, "minutes": minutes, "cost": cost(minutes, row.instances, row.hourly)}


def _workspace(organization: Organization, text: str) -> Workspace | None:
    """One of the organization, also if it was deleted since: bills name it."""
    key = _uuid(text)
    return Workspace.objects.filter(organization=organization, pk=key).first() if key else None


def _cluster(organization: Organization, text: str) -> Cluster | None:
    key = _uuid(text)
    return Cluster.objects.filter(workspace__organization=organization, pk=key).first() if key else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
