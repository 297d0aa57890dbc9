"""The billing page."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.models import MarketplaceSubscription, Organization
from accounts.permissions import Perm
from billing import dashboard, metering


@organization_view(Perm.USAGE_VIEW)
def billing(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """What a month costs, by day and by cluster, to the minute."""
    metering.meter(organization)
    now = timezone.now()
    month = dashboard.Month.parse(request.GET.get("month", ""), now.date())
    shown = dashboard.dashboard(organization, month, now)
    context = {
        "nav": "billing",
        "month": month,
        "previous_month": month.previous,
        "next_month": month.next if month.end <= now else None,
        "total": shown.total,
        "minutes": shown.minutes,
        "open_count": shown.open_count,
        "by_day": shown.by_day,
        "by_cluster": [asdict(line) for line in shown.by_cluster],
        "intervals": shown.intervals[:200],
        "currency": "USD",
        "subscription": MarketplaceSubscription.objects.in_organization(organization).first(),
    }
    return render(request, "billing/dashboard.html", context)
