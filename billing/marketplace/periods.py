"""From when until when an organization's usage is reported to a subscription.

A period begins when a subscription is linked, or is active again. It ends when the subscription does; after a
cancellation only once all that ran was paused, as AWS takes records for one hour more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import MarketplaceSubscription, SubscriptionState
from billing import metering
from billing.marketplace.each import each
from billing.models import MeterPeriod, UsageInterval

PATIENCE = timedelta(minutes=5)
"""How long after the pause of a customer who cancels clusters are waited for that do not come to rest."""


def floor_hour(at: datetime) -> datetime:
    """The first instant of an hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def follow() -> None:
    """End the periods that are over, then begin those that are due."""
    active = MarketplaceSubscription.objects.played(settings.PORTAL_MARKETPLACE).filter(state=SubscriptionState.ACTIVE)
    open_periods = MeterPeriod.objects.filter(ended_at=None)
    goes_on = Q(subscription__state=SubscriptionState.ACTIVE, subscription__organization=F("organization"))
    each(_end_if_over, open_periods.exclude(goes_on).select_related("organization", "subscription"))
    each(_begin, active.exclude(pk__in=open_periods.values("subscription")))


def _end_if_over(seen: MeterPeriod) -> None:
    metering.meter(seen.organization)
    with transaction.atomic():
        period = MeterPeriod.objects.select_for_update(of=("self",)).get(pk=seen.pk)
        subscription = MarketplaceSubscription.objects.get(pk=period.subscription_id)
        at = _over_since(period, subscription)
        if period.ended_at is None and at is not None:
            period.ended_at = max(at, period.started_at)
            period.save(update_fields=["ended_at"])


def _over_since(period: MeterPeriod, subscription: MarketplaceSubscription) -> datetime | None:
    """When it ended; None while it goes on."""
    now = timezone.now()
    if subscription.state == SubscriptionState.ACTIVE and subscription.organization_id == period.organization_id:
        return None
    if subscription.organization_id != period.organization_id:
        return now
    current = MarketplaceSubscription.objects.filter(organization=period.organization_id).order_by("-linked_at")[0]
    if current.pk != subscription.pk:
        return current.linked_at  # from there on another one pays
    if subscription.state != SubscriptionState.CANCELLING or subscription.pauses_at is None:
        return min(now, subscription.notified_at or now)
    if now < subscription.pauses_at:
        return None
    used = UsageInterval.objects.filter(organization=period.organization_id, ended_at=None).exists()
    return None if used and now < subscription.pauses_at + PATIENCE else now


@transaction.atomic
def _begin(seen: MarketplaceSubscription) -> None:
    """Unless another scheduler did, or the subscription changed meanwhile."""
    row = MarketplaceSubscription.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    taken = MeterPeriod.objects.filter(ended_at=None)
    if row.state != SubscriptionState.ACTIVE or taken.filter(subscription=row).exists():
        return
    assert row.organization_id
    assert row.active_since
    if taken.filter(organization=row.organization_id).exists():
        return  # the one before has to be ended first
    MeterPeriod.objects.create(
        subscription=row,
        organization_id=row.organization_id,
        started_at=row.active_since,
        frozen_until=floor_hour(row.active_since),
    )
