"""The records of hours that are over: how much of what a period cost is reported for each, made once.

quantity = what the period cost until the end of the hour, less what its earlier records report, in whole units, down

So what is left below a unit is carried into the next hour, as is what the ledgers say late, and all hours together
report what the period cost, less than one unit short. The cost is the bill's: the same minutes and rates.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q, Sum
from django.utils import timezone

from accounts.models import MarketplaceSubscription, Organization
from billing import metering
from billing.marketplace.each import each
from billing.marketplace.periods import floor_hour
from billing.models import MeterPeriod, MeterRecord, UsageDay, UsageInterval
from billing.months import Month, midnight
from billing.totals import MONEY
from billing.usage import minutes_within

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
SETTLE = timedelta(minutes=2)
"""After the end of an hour, until what happened in it is in the ledgers. What comes later is carried."""

WINDOW = timedelta(hours=24)
"""How long AWS takes a record after the time it is for."""

MONTH_CLOSES = timedelta(hours=6)
"""Into a month: how long AWS takes records of the month before. Both are from BatchMeterUsage in AWS's API reference,
as botocore 1.44.5 has it (October 2026). Earlier versions of it say 6 hours for all records."""

MOST = 2**31 - 1
"""What AWS takes as a quantity; what is above it is carried."""


def closes_at(at: datetime) -> datetime:
    """When AWS stops taking a record for that time."""
    return min(at + WINDOW, Month(at.astimezone(UTC).date().replace(day=1)).end + MONTH_CLOSES)


def freeze() -> int:
    """Make the records of all hours that are over, and return how many there were."""
    now = timezone.now()
    due = Q(ended_at__isnull=False) | Q(frozen_until__lte=now - HOUR - SETTLE)
    periods = MeterPeriod.objects.filter(
        due, settled=False, subscription__in=MarketplaceSubscription.objects.played(settings.PORTAL_MARKETPLACE)
    )
    return each(partial(_freeze, now), periods.select_related("organization", "subscription"))


def _freeze(now: datetime, seen: MeterPeriod) -> int:
    metering.meter(seen.organization)
    with transaction.atomic():
        return _make(seen.pk, now)


def _make(pk: int, now: datetime) -> int:
    rows = MeterPeriod.objects.select_for_update(of=("self",), skip_locked=True).select_related("subscription")
    period = rows.filter(pk=pk, settled=False).first()
    if period is None:
        return 0  # another scheduler is at it
    dimension, unit = settings.PORTAL_MARKETPLACE_DIMENSION, settings.PORTAL_MARKETPLACE_UNIT
    last = MeterRecord.objects.filter(subscription=period.subscription_id).aggregate(last=Max("hour"))["last"]
    hour = period.frozen_until if last is None else max(period.frozen_until, last + HOUR)
    # After the end there is no more to come, so its own hour is over at once: AWS may not take it later.
    until = period.ended_at or floor_hour(now - SETTLE)
    records = []
    reported = _reported(period)
    while dimension and hour < until and (period.ended_at or hour + HOUR <= until):
        used = cost_times_60(period.organization_id, period.started_at, min(hour + HOUR, until))
        quantity = min(MOST, max(0, int((used - 60 * reported) // (60 * unit))))
        records.append(_record(period, hour, used / 60, quantity, dimension, unit, now))
        reported += quantity * unit
        hour += HOUR
    MeterRecord.objects.bulk_create(records)
    if period.ended_at:
        period.settled = True
        _note_rest(period, reported)
    else:
        period.frozen_until = max(period.frozen_until, hour if dimension else until)
    period.save(update_fields=["settled", "frozen_until"])
    return len(records)


def cost_times_60(organization: Organization | Any, start: datetime, end: datetime) -> Decimal:
    """What an organization used in ``[start, end)`` in US dollars, times 60: exact, as minutes are.

    Whole days are read where they are added up already; the parts of days before and after, and what goes on, as it is.
    """
    first, last = _next_midnight(start), midnight(end.astimezone(UTC).date())
    if first >= last:
        first = last = end
    days = UsageDay.objects.filter(organization=organization, day__gte=first.date(), day__lt=last.date())
    whole = Decimal(0)
    if first < last:
        whole = days.aggregate(sum=Sum(F("minutes") * F("hourly"), output_field=MONEY))["sum"] or Decimal(0)
    parts = Q(ended_at__gt=start, started_at__lt=first) | Q(ended_at__gt=last, started_at__lt=end)
    rows = UsageInterval.objects.filter(organization=organization)
    for row in rows.filter(parts):
        assert row.ended_at
        minutes = minutes_within(row.started_at, row.ended_at, start, first) if first > start else 0
        minutes += minutes_within(row.started_at, row.ended_at, last, end) if end > last else 0
        whole += minutes * row.instances * row.hourly
    for row in rows.filter(ended_at=None, started_at__lt=end):
        whole += minutes_within(row.started_at, end, start, end) * row.instances * row.hourly
    return whole


def _next_midnight(at: datetime) -> datetime:
    day = midnight(at.astimezone(UTC).date())
    return day if day == at else day + timedelta(days=1)


def _reported(period: MeterPeriod) -> Decimal:
    sums = period.records.aggregate(sum=Sum(F("quantity") * F("unit"), output_field=MONEY))
    return sums["sum"] or Decimal(0)


def _record(
    period: MeterPeriod, hour: datetime, total: Decimal, quantity: int, dimension: str, unit: Decimal, now: datetime
) -> MeterRecord:
    of = period.subscription
    at = max(hour, period.started_at.replace(microsecond=0))  # AWS takes none from before the purchase
    return MeterRecord(
        period=period,
        subscription=of,
        organization_id=period.organization_id,
        dimension=dimension,
        hour=hour,
        timestamp=at,
        closes_at=closes_at(at),
        total=total,
        unit=unit,
        quantity=quantity,
        product_code=of.product_code,
        license_arn=of.license_arn,
        account_id=of.account_id,
        customer_identifier="" if of.account_id else of.customer_identifier,
        created_at=now,
        due_at=now,
    )


def _note_rest(period: MeterPeriod, reported: Decimal) -> None:
    """Where a subscription came back and ended within an hour that has its record, some of it finds no other."""
    assert period.ended_at
    rest = cost_times_60(period.organization_id, period.started_at, period.ended_at) / 60 - reported
    if rest >= settings.PORTAL_MARKETPLACE_UNIT and settings.PORTAL_MARKETPLACE_DIMENSION:
        logger.error("%s ended: %.4f US dollars could not be reported to AWS Marketplace.", period, rest)
