"""What AWS Marketplace says of an organization's subscription, and what was reported to it."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render

from accounts.access import OrganizationRequest, organization_view
from accounts.letters import SUSPENDED
from accounts.models import MarketplaceSubscription, Organization, SubscriptionState
from accounts.permissions import Perm
from billing.models import MeterRecord, MeterState
from portal.paging import page


@organization_view(Perm.USAGE_VIEW)
def marketplace(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The subscription, and the hours that were reported to it, newest first."""
    subscription = MarketplaceSubscription.objects.in_organization(organization).first()
    records = MeterRecord.objects.in_organization(organization)
    lost = [MeterState.REFUSED, MeterState.DUPLICATE, MeterState.LOST]
    context = {
        "nav": "billing",
        "subscription": subscription,
        "why": SUSPENDED.get(SubscriptionState(subscription.state)) if subscription else None,
        "entitlements": subscription.entitlements.order_by("dimension") if subscription else [],
        "last": records.filter(state=MeterState.ACCEPTED).order_by("-id").first(),
        "counts": records.aggregate(
            waiting=Count("pk", filter=Q(state=MeterState.PENDING)),
            lost=Count("pk", filter=Q(state__in=lost, quantity__gt=0)),
        ),
        "page": page(request, records, key="id"),
    }
    return render(request, "billing/marketplace.html", context)
