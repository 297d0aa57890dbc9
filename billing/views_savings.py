"""What auto-pause and auto-stop saved: a figure on the page of bills, and a page of its own."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.models import Organization
from accounts.permissions import Perm
from billing import metering, savings
from billing.months import Month
from billing.views import CURRENCY

SHOWN = 200
"""Lines of the table."""


@organization_view(Perm.USAGE_VIEW)
def saved(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """By cluster. The page of bills asks for the figure alone, once it is shown: it need not wait for this."""
    metering.meter(organization)
    now = timezone.now()
    month = Month.parse(request.GET.get("month", ""), now.date())
    context = {
        "nav": "billing",
        "month": month,
        "previous_month": month.previous,
        "next_month": month.next if month.end <= now else None,
        "saved": savings.saved(organization, month, now),
        "currency": CURRENCY,
        "longest": savings.LONGEST.total_seconds() // 3600,
    }
    if getattr(request, "htmx", False):
        return render(request, "billing/saved.html#figure", context)
    context["lines"] = savings.saved_by_cluster(organization, month, now, SHOWN)
    context["shown"] = SHOWN
    return render(request, "billing/saved.html", context)
