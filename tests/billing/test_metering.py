"""Keeping the intervals in step with the ledgers, and the page that shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import Organization
from billing import metering
from billing.dashboard import Dashboard
from billing.dashboard import dashboard as dashboard_by
from billing.models import MeteredCluster, Rate, UsageInterval
from billing.months import Month
from billing.totals import DIMENSIONS, Amount, added
from clusters import services
from clusters.models import Cluster, Transition
from clusters.services import ACTIONS
from tests.factories import actor, make_cluster, make_organization, make_user, make_workspace
from tests.fakes import FakeCloud, Workers

OCTOBER = datetime(2026, 10, 31, 23, 0, tzinfo=UTC)


def ledger(cluster: Cluster, *lines: tuple[float, str, str, int]) -> None:
    """More lines, with minutes counted from one hour before November."""
    for minutes, kind, status, instances in lines:
        cluster.ledger_length += 1
        Transition.objects.create(
            cluster=cluster,
            seq=cluster.ledger_length,
            at=OCTOBER + timedelta(minutes=minutes),
            kind=kind,
            status=status,
            instances=instances,
            instance_type=cluster.instance_type,
        )
    cluster.save(update_fields=["ledger_length"])


def rate(hourly: str, valid_from: datetime, valid_to: datetime | None = None, kind: str = "local.1x") -> Rate:
    return Rate.objects.create(
        provider="LOCAL", instance_type=kind, hourly=Decimal(hourly), valid_from=valid_from, valid_to=valid_to
    )


@pytest.fixture(autouse=True)
def no_rates(db: None) -> None:
    """Without those that a migration sets for LOCAL."""
    Rate.objects.all().delete()


def dashboard(organization: Organization, month: Month, now: datetime) -> Dashboard:
    return dashboard_by(organization, month, now, DIMENSIONS["cluster"])


@pytest.fixture
def organization(db: None) -> Organization:
    return make_organization(make_user())


@pytest.fixture
def cluster(organization: Organization) -> Cluster:
    return make_cluster(make_workspace(organization))


def stored(cluster: Cluster) -> list[Any]:
    rows = UsageInterval.objects.filter(cluster=cluster).order_by("started_at")
    return list(rows.values("started_at", "ended_at", "instances", "instance_type", "hourly"))


def test_metering_again_changes_nothing_and_no_interval_is_lost(cluster: Cluster) -> None:
    rate("1.5", OCTOBER - timedelta(days=1))
    ledger(cluster, (0, "STATUS", "RUNNING", 2), (10, "REQUEST", "PAUSED", 2), (20, "STATUS", "RUNNING", 2))
    assert [metering.meter(), metering.meter()] == [1, 0]
    before = stored(cluster)
    assert [row["instances"] for row in before] == [2, 2]
    assert {type(row["hourly"]) for row in before} == {Decimal}
    MeteredCluster.objects.all().delete()
    assert metering.meter() == 1
    assert stored(cluster) == before


def test_a_ledger_that_grows_closes_its_open_interval(cluster: Cluster) -> None:
    ledger(cluster, (0, "STATUS", "RUNNING", 2))
    metering.meter()
    assert stored(cluster)[0]["ended_at"] is None
    ledger(cluster, (30, "REQUEST", "TERMINATED", 2))
    metering.meter()
    assert [row["ended_at"] for row in stored(cluster)] == [OCTOBER + timedelta(minutes=30)]


@pytest.mark.parametrize("first", ["2", None])
def test_an_interval_keeps_the_rate_it_started_with(first: str | None, cluster: Cluster, settings: Settings) -> None:
    settings.PORTAL_DEFAULT_HOURLY = None
    old = rate(first, OCTOBER - timedelta(days=1)) if first else None
    ledger(cluster, (0, "STATUS", "RUNNING", 1))
    metering.meter()
    if old:
        old.valid_to = OCTOBER + timedelta(minutes=5)
        old.save(update_fields=["valid_to"])
    rate("7", OCTOBER + timedelta(minutes=5))
    ledger(cluster, (30, "REQUEST", "RUNNING", 1), (40, "SCALED", "RUNNING", 3))
    metering.meter()
    assert [row["hourly"] for row in stored(cluster)] == [Decimal(first or 0), Decimal(7)]


@pytest.mark.parametrize(
    ("start", "end"), [(30, 50), (0, None), (59, 60), (-10, 1), (-10, None)], ids=lambda value: str(value)
)
def test_the_database_refuses_to_charge_twice(start: int, end: int | None, cluster: Cluster) -> None:
    def interval(first: int, last: int | None) -> UsageInterval:
        return UsageInterval.objects.create(
            organization=cluster.workspace.organization,
            workspace=cluster.workspace,
            cluster=cluster,
            started_at=OCTOBER + timedelta(minutes=first),
            ended_at=None if last is None else OCTOBER + timedelta(minutes=last),
            instance_type="local.1x",
            instances=1,
            hourly=Decimal(1),
        )

    interval(0, 60)
    with pytest.raises(IntegrityError, match="usage_never_twice"), transaction.atomic():
        interval(start, end)
    interval(-20, -10)
    interval(60, None)


def test_a_ledger_that_makes_no_sense_does_not_stop_the_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_cluster(cluster.workspace)
    for each in (cluster, good):
        ledger(each, (0, "STATUS", "RUNNING", 1))
    rebuild = metering.rebuild

    def broken(cluster_ids: Any) -> int:
        if cluster.pk in cluster_ids:
            raise IntegrityError("usage_never_twice")
        return rebuild(cluster_ids)

    monkeypatch.setattr(metering, "rebuild", broken)
    assert metering.meter() == 1
    assert len(stored(good)) == 1


def test_from_the_wish_to_the_bill(fake_cloud: FakeCloud, workers: Workers, organization: Organization) -> None:
    rate("6", workers.clock.at - timedelta(days=1))
    workspace = make_workspace(organization)
    cluster = services.create_cluster(
        actor=actor(), workspace=workspace, name="c", instance_type="local.1x", instances=2, release="2026.10"
    )
    workers.work()
    workers.clock.at = cluster.transitions.get(status="RUNNING", kind="STATUS").at
    workers.clock.move(minutes=10, seconds=30)
    services.act(actor=actor(), cluster=cluster, action=ACTIONS["delete"])
    workers.clock.move(hours=5)
    workers.work()
    metering.meter()
    begun = cluster.transitions.order_by("seq")[0].at.date()
    month = Month(begun.replace(day=1))
    shown = dashboard(organization, month, workers.clock.at)
    rest = dashboard(organization, month.next, workers.clock.at)  # were it the last night of a month
    assert shown.total + rest.total == Amount(22, Decimal("2.2"))
    cluster.refresh_from_db()
    assert cluster.status == "TERMINATED"


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_month_on_the_page(cluster: Cluster, organization: Organization) -> None:
    """Two instances from 23:00 in October until 1:00 in November, then one until 1:10."""
    rate("0.60", OCTOBER - timedelta(days=1))
    ledger(
        cluster,
        (0, "STATUS", "RUNNING", 2),
        (115, "REQUEST", "RUNNING", 1),
        (120, "SCALED", "RUNNING", 1),
        (130, "REQUEST", "TERMINATED", 1),
    )
    other = make_cluster(make_workspace(make_organization()))
    ledger(other, (0, "STATUS", "RUNNING", 9))
    metering.meter()
    now = OCTOBER + timedelta(days=3)
    october = dashboard(organization, Month(OCTOBER.date().replace(day=1)), now)
    november = dashboard(organization, Month(now.date().replace(day=1)), now)
    assert october.total == Amount(120, Decimal("1.2"))
    assert (november.total, november.open_count) == (Amount(130, Decimal("1.3")), 0)
    for month in (october, november):
        assert added(day.amount for day in month.days) == added(line.amount for line in month.lines) == month.total
    assert {type(value) for value in (october.total.cost, *(day.amount.cost for day in october.days))} == {Decimal}
    client = Client()
    client.force_login(organization.memberships.get().user)
    address = reverse("billing:dashboard", args=[organization.pk])
    page = client.get(address, {"month": "2026-11"})
    assert (page.status_code, page.context["shown"].total) == (200, Amount(130, Decimal("1.3")))
    assert "1.30" in page.content.decode()
    assert client.get(address, {"month": "0001-01"}).status_code == 200
    assert client.get(address, {"month": "9999-12"}).status_code == 200


def test_an_open_interval_counts_until_now(cluster: Cluster, organization: Organization) -> None:
    ledger(cluster, (60, "STATUS", "RUNNING", 3))
    metering.meter()
    shown = dashboard(organization, Month.parse("2026-11", OCTOBER.date()), OCTOBER + timedelta(minutes=70))
    assert (shown.total.minutes, shown.open_count) == (30, 1)
    later = dashboard(organization, Month.parse("2027-01", OCTOBER.date()), OCTOBER + timedelta(minutes=70))
    assert later.total == Amount()


def test_the_page_meters_only_its_own_organization(cluster: Cluster, organization: Organization) -> None:
    other = make_cluster(make_workspace(make_organization()))
    for each in (cluster, other):
        ledger(each, (0, "STATUS", "RUNNING", 1))
    assert metering.meter(organization) == 1
    assert (len(stored(cluster)), len(stored(other))) == (1, 0)
