"""The examples of AWS Marketplace in docs/billing.md are true: the scheduler looks every two minutes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from accounts.models import MarketplaceSubscription, Organization
from billing.marketplace import work
from billing.models import MeterRecord, Rate
from clusters.models import Cluster, Transition
from tests.billing.examples import Example, examples
from tests.billing.test_examples import KINDS, LINE, TIME, at
from tests.factories import make_cluster, make_organization, make_subscription, make_user, make_workspace
from tests.fakes import Clock

KNOWN = re.compile(rf"(.+), known at {TIME}")
SAID = re.compile(rf"(subscribed|cancelled) {TIME}")
HOUR = re.compile(rf"hour (\d{{4}}-\d\d-\d\d \d\d:\d\d): (\d+)(?:, made at {TIME})?(?:, taken until {TIME})?")
EXAMPLES = examples("AWS Marketplace")


def add(cluster: Cluster, entry: re.Match[str]) -> None:
    cluster.refresh_from_db()
    cluster.ledger_length += 1
    cluster.save(update_fields=["ledger_length"])
    Transition.objects.create(
        cluster=cluster,
        seq=cluster.ledger_length,
        at=at(entry[1]),
        kind=KINDS[entry[2]],
        status=entry[3],
        instances=int(entry[4] or 0),
        instance_type=entry[5] or "local.4x",
    )


def test_each_rule_has_an_example() -> None:
    assert len(EXAMPLES) == 5
    assert all(example.lines for example in EXAMPLES)


@pytest.mark.django_db
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_what_the_page_says_is_reported(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    Rate.objects.all().delete()
    for kind, hourly in (("local.1x", "0.06"), ("local.4x", "0.24")):
        Rate.objects.create(
            provider="LOCAL", instance_type=kind, hourly=Decimal(hourly), valid_from=at("2026-01-01 00:00:00")
        )
    organization = make_organization(make_user())
    cluster = make_cluster(make_workspace(organization))
    ledger: list[tuple[datetime, re.Match[str]]] = []
    said: dict[str, datetime] = {}
    told: list[re.Match[str]] = []
    for text in example.lines:
        if hour := HOUR.fullmatch(text):
            told.append(hour)
        elif notice := SAID.fullmatch(text):
            said[notice[1]] = at(notice[2])
        else:
            known = KNOWN.fullmatch(text)
            entry = LINE.fullmatch(known[1] if known else text)
            assert entry, text
            ledger.append((at(known[2] if known else entry[1]), entry))
    subscription = make_subscription(organization, linked_at=said["subscribed"], active_since=said["subscribed"])
    clock = Clock()
    monkeypatch.setattr("django.utils.timezone.now", clock)
    clock.at = min([said["subscribed"], *(known for known, _ in ledger)])
    end = max(at(f"{hour[1]}:00") for hour in told) + timedelta(minutes=62)
    while clock.at <= end:
        while ledger and ledger[0][0] <= clock.at:
            add(cluster, ledger.pop(0)[1])
        if said.get("cancelled") == clock.at:
            cancel(subscription, organization, clock.at)
        work.hours()
        clock.move(minutes=2)
    rows = list(MeterRecord.objects.order_by("hour"))
    assert [(f"{row.hour:%Y-%m-%d %H:%M}", row.quantity) for row in rows] == [(hour[1], int(hour[2])) for hour in told]
    for row, hour in zip(rows, told, strict=True):
        assert hour[3] in {None, f"{row.created_at:%Y-%m-%d %H:%M:%S}"}
        assert hour[4] in {None, f"{row.closes_at:%Y-%m-%d %H:%M:%S}"}


def cancel(subscription: MarketplaceSubscription, organization: Organization, when: datetime) -> None:
    """As the notification does."""
    MarketplaceSubscription.objects.filter(pk=subscription.pk).update(
        state="CANCELLING", suspended_at=when, notified_at=when
    )
    Organization.objects.filter(pk=organization.pk).update(suspended_at=when)
