"""Hands records to AWS until each has its answer, or is too late.

A record is claimed before the call and answered after it, each in a transaction of its own, so that two schedulers
never send the same one at the same time. A process that dies in between leaves it to be sent again, as it was; AWS
counts it once (``aws``).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import MarketplaceSubscription, MarketplaceSubscriptionQuerySet
from billing.marketplace import aws, sandbox
from billing.marketplace.aws import Answer
from billing.models import MeterRecord, MeterState

logger = logging.getLogger(__name__)

BATCH = 25
"""Records of one call; AWS takes no more."""

LEASE = timedelta(minutes=5)
"""How long one call, in halves where AWS refuses it, may take before another scheduler sends the same."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=5)
ROUNDS = 200
"""Calls of one pass."""


def send() -> int:
    """Send what is due, and return how many records were answered for good."""
    _give_up()
    done = 0
    for _ in range(ROUNDS):
        claim = uuid.uuid4()
        records = _claimed(claim)
        if not records:
            break
        report = sandbox.report if settings.PORTAL_MARKETPLACE == "sandbox" else aws.report
        done += _answered(claim, records, report(records))
    return done


@transaction.atomic
def _claimed(claim: uuid.UUID) -> list[MeterRecord]:
    """The next records that go into one call. First what was used until a cancellation: AWS takes it for an hour."""
    now = timezone.now()
    due = MeterRecord.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        state=MeterState.PENDING,
        due_at__lte=now,
        closes_at__gt=now,
        subscription__in=_played(),
    )
    due = due.order_by(F("period__ended_at").asc(nulls_last=True), "closes_at", "pk")
    first = due.first()
    if first is None:
        return []
    alike = due.filter(product_code=first.product_code)
    alike = alike.exclude(license_arn="") if first.license_arn else alike.filter(license_arn="")
    rows = list(alike[:BATCH])
    MeterRecord.objects.filter(pk__in=[row.pk for row in rows]).update(
        claim=claim, due_at=now + LEASE, attempts=F("attempts") + 1
    )
    return rows


def _answered(claim: uuid.UUID, records: Sequence[MeterRecord], answers: Mapping[int, Answer]) -> int:
    """Write down what became of each. One that somebody else has claimed meanwhile is theirs."""
    now, done = timezone.now(), 0
    with transaction.atomic():
        for record in records:
            answer = answers[record.pk]
            mine = MeterRecord.objects.filter(pk=record.pk, claim=claim, state=MeterState.PENDING)
            if answer.state == MeterState.PENDING:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(record.attempts, 10))
                mine.update(due_at=now + pause, claim=None, error=answer.error[:500])
            else:
                done += mine.update(
                    state=answer.state,
                    metering_record_id=answer.metering_record_id[:255],
                    answered_at=now,
                    due_at=None,
                    claim=None,
                    error="",
                )
    for record in records:
        _log(record, answers[record.pk])
    return done


def _log(record: MeterRecord, answer: Answer) -> None:
    if answer.state == MeterState.REFUSED:
        logger.error("AWS Marketplace refused %s: the customer is not subscribed. %s is lost.", record, _worth(record))
    elif answer.state == MeterState.DUPLICATE:
        logger.error("AWS Marketplace has another quantity for %s than %s.", record, _worth(record))
    elif answer.wrong and (record.attempts in {0, 5} or record.attempts % 50 == 49):
        logger.error("AWS Marketplace does not take %s: %s", record, answer.error)


def _give_up() -> None:
    """What AWS would not take any more. What is under way may still be answered."""
    now = timezone.now()
    with transaction.atomic():
        late = MeterRecord.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            state=MeterState.PENDING, closes_at__lte=now, due_at__lte=now, subscription__in=_played()
        )
        lost = list(late.select_related("subscription"))
        MeterRecord.objects.filter(pk__in=[row.pk for row in lost]).update(
            state=MeterState.LOST, due_at=None, claim=None, answered_at=now
        )
    for row in lost:
        if row.quantity:
            logger.error("%s was not reported in time: %s is lost. %s", row, _worth(row), row.error)


def _worth(record: MeterRecord) -> str:
    return f"{record.quantity} × {record.dimension} ({record.cost:.2f} US dollars)"


def _played() -> MarketplaceSubscriptionQuerySet:
    return MarketplaceSubscription.objects.played(settings.PORTAL_MARKETPLACE)
