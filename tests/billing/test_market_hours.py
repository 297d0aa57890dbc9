"""The records of hours that are over: what they report, and that they are made once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import MarketplaceSubscription, Organization
from billing import metering
from billing.marketplace import hours, standing, work
from billing.models import MeterPeriod, MeterRecord, Rate, UsageInterval
from billing.usage import minutes_within
from clusters.models import Cluster
from tests.billing.test_metering import OCTOBER, ledger, rate
from tests.factories import make_cluster, make_organization, make_period, make_subscription, make_user, make_workspace
from tests.fakes import Clock, Killed
from tests.together import together

pytestmark = pytest.mark.django_db
START = OCTOBER + timedelta(hours=10)
"""1 November 2026, 9:00 UTC; lines of ledgers count minutes from 23:00 the day before."""


@pytest.fixture
def organization() -> Organization:
    Rate.objects.all().delete()
    rate("0.50", datetime(2026, 1, 1, tzinfo=UTC))
    return make_organization(make_user("owner"))


@pytest.fixture
def subscription(organization: Organization) -> MarketplaceSubscription:
    return make_subscription(organization, linked_at=START, active_since=START)


@pytest.fixture
def cluster(organization: Organization) -> Cluster:
    return make_cluster(make_workspace(organization))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The scheduler does its work, so many minutes after 9:00."""
    clock = Clock()
    monkeypatch.setattr("django.utils.timezone.now", clock)

    def at(minutes: float) -> None:
        clock.at = START + timedelta(minutes=minutes)
        work.hours()

    return at


def reported() -> list[tuple[str, int]]:
    """Hours and quantities."""
    rows = MeterRecord.objects.order_by("hour", "pk")
    return [(f"{row.hour:%d %H:%M}", row.quantity) for row in rows]


def use(cluster: Cluster, *spans: tuple[float, float | None]) -> None:
    """It ran in these spans, in minutes after 9:00; one machine at 0.50 an hour."""
    for start, end in spans:
        ledger(cluster, (600 + start, "STATUS", "RUNNING", 1))
        if end is not None:
            ledger(cluster, (600 + end, "REQUEST", "PAUSED", 1))


# --- what an hour reports -------------------------------------------------------------------------------------------


def test_an_hour_is_reported_when_it_is_over_also_with_nothing_in_it(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (10, 40))
    at(61)
    assert reported() == []  # what happened in its last seconds may still be on its way
    at(62)
    assert reported() == [("01 09:00", 25)]
    at(183)
    assert reported() == [("01 09:00", 25), ("01 10:00", 0), ("01 11:00", 0)]
    at(183)
    assert len(reported()) == 3


def test_what_goes_on_is_reported_hour_by_hour(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (30, None))
    at(62)
    at(122)
    use_ends = (600 + 135, "REQUEST", "PAUSED", 1)
    ledger(cluster, use_ends)
    at(182)
    assert reported() == [("01 09:00", 25), ("01 10:00", 50), ("01 11:00", 12)]  # 12.5: the half is carried
    use(cluster, (190, 191))
    at(242)
    assert reported()[-1] == ("01 12:00", 1)  # 0.5 and 0.8333


def test_what_the_ledger_says_late_goes_into_the_next_hour(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    at(62)
    use(cluster, (20, 50))
    at(122)
    assert reported() == [("01 09:00", 0), ("01 10:00", 25)]


def test_what_the_ledger_takes_back_is_taken_from_the_next_hours(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (0, 60))
    at(62)
    UsageInterval.objects.update(ended_at=START + timedelta(minutes=30))
    use_again = make_cluster(cluster.workspace)
    use(use_again, (60, 75), (120, 180))
    at(122)
    at(182)
    assert reported() == [("01 09:00", 50), ("01 10:00", 0), ("01 11:00", 37)]  # 12.5 of 25 taken back, then the rest


def test_many_small_amounts_are_not_lost_to_rounding(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    """A minute each hour is 0.8333 units."""
    for number in range(12):
        use(cluster, (60 * number, 60 * number + 1))
    at(12 * 60 + 2)
    assert [quantity for _, quantity in reported()] == [0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_days_and_months_pass_without_a_seam(
    organization: Organization, cluster: Cluster, at: Callable[[float], None]
) -> None:
    make_subscription(organization, linked_at=OCTOBER, active_since=OCTOBER + timedelta(minutes=20))
    ledger(cluster, (30, "STATUS", "RUNNING", 1))  # 23:30 on 31 October
    at(-9 * 60 + 2)
    at(62)
    assert reported() == [("31 23:00", 25), *((f"01 {hour:02}:00", 50) for hour in range(10))]
    first, last = MeterRecord.objects.order_by("hour").first(), MeterRecord.objects.order_by("hour").last()
    assert first
    assert last
    assert (first.timestamp, first.closes_at) == (
        OCTOBER + timedelta(minutes=20),  # not before the purchase
        datetime(2026, 11, 1, 6, tzinfo=UTC),  # October is closed six hours into November
    )
    assert last.closes_at == START + timedelta(hours=24)


@pytest.mark.parametrize(
    ("at", "closes"),
    [
        (datetime(2026, 11, 15, 8, tzinfo=UTC), datetime(2026, 11, 16, 8, tzinfo=UTC)),
        (datetime(2026, 11, 30, 5, tzinfo=UTC), datetime(2026, 12, 1, 5, tzinfo=UTC)),
        (datetime(2026, 11, 30, 6, tzinfo=UTC), datetime(2026, 12, 1, 6, tzinfo=UTC)),
        (datetime(2026, 11, 30, 7, tzinfo=UTC), datetime(2026, 12, 1, 6, tzinfo=UTC)),
        (datetime(2026, 11, 30, 23, tzinfo=UTC), datetime(2026, 12, 1, 6, tzinfo=UTC)),
        (datetime(2026, 12, 1, 0, tzinfo=UTC), datetime(2026, 12, 2, 0, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, 6, tzinfo=UTC)),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2028, 3, 1, 6, tzinfo=UTC)),
    ],
)
def test_when_aws_stops_taking_records(at: datetime, closes: datetime) -> None:
    assert hours.closes_at(at) == closes


SPANS = st.lists(
    st.tuples(st.integers(0, 3000 * 60), st.integers(1, 900 * 60), st.integers(1, 9), st.integers(0, 2)), max_size=12
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=SPANS, unit=st.sampled_from(["0.01", "0.03", "1", "0.000001"]), passes=st.sets(st.integers(1, 3400)))
def test_all_hours_together_report_what_was_used(
    django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch, spans: list[Any], unit: str, passes: set[int]
) -> None:
    """Whatever ran, whenever the scheduler looked, and however late the ledger was: less than a unit is missing, and
    nothing is reported twice."""
    with transaction.atomic(), monkeypatch.context() as patch:
        from django.conf import settings as django

        patch.setattr(django, "PORTAL_MARKETPLACE_UNIT", Decimal(unit))
        Rate.objects.all().delete()
        rate("0.37", datetime(2026, 1, 1, tzinfo=UTC))
        organization = make_organization(make_user())
        make_subscription(organization, linked_at=START, active_since=START + timedelta(minutes=17, seconds=20))
        place = make_workspace(organization)
        clusters = []
        for start, seconds, instances, rest in spans:
            one = make_cluster(place)
            ledger(one, (600 + start / 60, "STATUS", "RUNNING", instances))
            if rest:
                ledger(one, (600 + (start + seconds) / 60, "REQUEST", "PAUSED", instances))
            clusters.append(one)
        clock = Clock()
        patch.setattr("django.utils.timezone.now", clock)
        for minutes in [*sorted(passes), 4000]:
            clock.at = START + timedelta(minutes=minutes)
            work.hours()
        last = max(MeterRecord.objects.values_list("hour", flat=True)) + timedelta(hours=1)
        since = START + timedelta(minutes=17, seconds=20)
        exact = sum(
            (
                Decimal(minutes_within(row.started_at, row.ended_at or last, since, last)) * row.instances * row.hourly
                for row in UsageInterval.objects.all()
            ),
            Decimal(0),
        )
        told = sum((row.cost for row in MeterRecord.objects.all()), Decimal(0))
        assert 0 <= exact - 60 * told < 60 * Decimal(unit)
        times = list(MeterRecord.objects.order_by("hour").values_list("hour", flat=True))
        assert times == [START + timedelta(hours=number) for number in range(len(times))]  # each hour, once
        transaction.set_rollback(True)


# --- from when until when -------------------------------------------------------------------------------------------


def test_nothing_from_before_the_link_is_reported(
    organization: Organization, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (-120, 30))
    at(0)
    make_subscription(organization, linked_at=START, active_since=START + timedelta(minutes=18))
    at(62)
    assert reported() == [("01 09:00", 10)]


def test_a_customer_who_cancels_is_paused_and_the_last_hour_reported_at_once(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (0, None))
    at(62)
    MarketplaceSubscription.objects.update(
        state="CANCELLING",
        suspended_at=START + timedelta(minutes=65),
        notified_at=START + timedelta(minutes=65),
    )
    Organization.objects.update(suspended_at=START + timedelta(minutes=65))
    at(94)
    assert (reported(), Cluster.objects.get().target) == ([("01 09:00", 50)], "RUNNING")
    at(95)
    assert Cluster.objects.get().target == "PAUSED"
    assert reported() == [("01 09:00", 50), ("01 10:00", 29)]  # 35 minutes, at 10:35 already
    period = MeterPeriod.objects.get()
    assert (period.ended_at, period.settled) == (START + timedelta(minutes=95), True)
    use(make_cluster(cluster.workspace), (96, 120))
    at(200)
    assert len(reported()) == 2  # what is used after the end is not AWS's


@pytest.mark.parametrize("late", [0, 7])
def test_the_patience_with_clusters_that_go_on_ends(
    subscription: MarketplaceSubscription,
    cluster: Cluster,
    at: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    late: int,
) -> None:
    use(cluster, (0, None))
    at(1)
    MarketplaceSubscription.objects.update(state="CANCELLING", suspended_at=START, notified_at=START)
    monkeypatch.setattr(standing, "_pause", lambda _: 0)
    at(34)
    assert reported() == []
    at(35 + late)
    assert reported() == [("01 09:00", int(Decimal(35 + late) * 50 / 60))]


def test_the_end_of_a_subscription_ends_the_reports_then(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (0, None))
    at(5)
    MarketplaceSubscription.objects.update(
        state="ENDED", suspended_at=START + timedelta(minutes=50), notified_at=START + timedelta(minutes=30)
    )
    at(51)
    assert reported() == [("01 09:00", 25)]


def test_coming_back_within_the_same_hour_the_rest_goes_into_the_next(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    """AWS has a record of the hour already, and takes no other."""
    use(cluster, (0, None))
    at(1)
    MarketplaceSubscription.objects.update(state="ENDED", suspended_at=START, notified_at=START + timedelta(minutes=12))
    at(13)
    assert reported() == [("01 09:00", 10)]
    MarketplaceSubscription.objects.update(
        state="ACTIVE", suspended_at=None, active_since=START + timedelta(minutes=48)
    )
    at(62)
    at(122)
    assert reported() == [("01 09:00", 10), ("01 10:00", 60)]  # 12 minutes of the hour before, and its own 60
    assert MeterPeriod.objects.count() == 2


def test_another_subscription_of_the_organization_goes_on_where_the_first_ended(
    organization: Organization,
    subscription: MarketplaceSubscription,
    cluster: Cluster,
    at: Callable[[float], None],
) -> None:
    use(cluster, (0, None))
    at(1)
    MarketplaceSubscription.objects.update(
        state="CANCELLING", suspended_at=START + timedelta(minutes=6), notified_at=START + timedelta(minutes=6)
    )
    at(7)
    since = START + timedelta(minutes=24)
    other = make_subscription(organization, linked_at=since, active_since=since)
    at(28)
    at(62)
    rows = MeterRecord.objects.order_by("pk").values_list("subscription", "hour", "quantity")
    assert list(rows) == [(subscription.pk, START, 20), (other.pk, START, 30)]
    assert Cluster.objects.get().target == "RUNNING"


def test_a_subscription_that_went_to_another_organization_reports_that_one(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None]
) -> None:
    use(cluster, (0, None))
    at(1)
    second = make_cluster(make_workspace(make_organization(make_user())))
    use(second, (0, None))
    since = START + timedelta(minutes=3)
    MarketplaceSubscription.objects.update(
        organization=second.workspace.organization, linked_at=since, active_since=since
    )
    at(6)
    at(62)
    at(122)
    # 6 minutes of the first in its last hour; of the second one 57 minutes late, and 60
    assert reported() == [("01 09:00", 5), ("01 10:00", 97)]


def test_a_sandbox_subscription_is_nothing_to_aws(
    subscription: MarketplaceSubscription, at: Callable[[float], None], settings: Settings
) -> None:
    settings.PORTAL_MARKETPLACE = "aws"
    at(300)
    assert not MeterPeriod.objects.exists()
    settings.PORTAL_MARKETPLACE = "sandbox"
    at(302)
    settings.PORTAL_MARKETPLACE = "aws"
    at(500)
    assert len(reported()) == 5


def test_without_a_dimension_nothing_is_reported(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None], settings: Settings
) -> None:
    settings.PORTAL_MARKETPLACE_DIMENSION = ""
    use(cluster, (0, None))
    at(200)
    assert reported() == []


def test_another_unit_counts_from_the_next_hour_on(
    subscription: MarketplaceSubscription, cluster: Cluster, at: Callable[[float], None], settings: Settings
) -> None:
    use(cluster, (0, None))
    at(62)
    settings.PORTAL_MARKETPLACE_UNIT = Decimal("0.10")
    at(122)
    assert reported() == [("01 09:00", 50), ("01 10:00", 5)]


# --- once -----------------------------------------------------------------------------------------------------------


def test_the_database_refuses_an_hour_twice(subscription: MarketplaceSubscription, at: Callable[[float], None]) -> None:
    at(62)
    row = MeterRecord.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError, match="meter_record_once"), transaction.atomic():
        row.save(force_insert=True)


def test_killed_anywhere_each_hour_is_made_once(
    subscription: MarketplaceSubscription,
    cluster: Cluster,
    at: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(cluster, (0, None))
    at(1)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    for place in ("cost_times_60", "_record", "_reported", "MeterRecord.objects.bulk_create", "MeterPeriod.save"):
        with monkeypatch.context() as patch:
            patch.setattr(f"billing.marketplace.hours.{place}", die)
            with pytest.raises(Killed):
                at(123)
        assert reported() == []
    at(123)
    assert reported() == [("01 09:00", 50), ("01 10:00", 50)]


def test_one_organization_that_fails_keeps_no_other_from_its_hours(
    subscription: MarketplaceSubscription,
    at: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = make_organization(make_user())
    make_subscription(broken, linked_at=START, active_since=START - timedelta(hours=1))
    at(1)
    real = metering.meter

    def meter(organization: Organization) -> int:
        if organization == broken:
            raise RuntimeError("no ledger")
        return real(organization)

    monkeypatch.setattr(metering, "meter", meter)
    at(62)
    assert [row.subscription for row in MeterRecord.objects.all()] == [subscription]
    assert "no ledger" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_two_schedulers_make_each_hour_once(clock: Clock) -> None:
    clock.at = START + timedelta(minutes=62)
    Rate.objects.all().delete()
    rate("0.50", datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(3):
        organization = make_organization(make_user())
        since = START - timedelta(hours=3)
        make_subscription(organization, linked_at=since, active_since=since)
        use(make_cluster(make_workspace(organization)), (-180, None))
    metering.meter()  # while one scheduler does, the others pass over the ledger, and what it says is in a later hour
    results = together(*[work.hours] * 4)
    assert results == [None] * 4
    work.hours()
    assert MeterPeriod.objects.count() == 3
    for period in MeterPeriod.objects.all():
        quantities = [row.quantity for row in period.records.all()]
        assert sum(quantities) == 50 * len(quantities)


def test_the_sum_of_parts_is_the_whole(organization: Organization, cluster: Cluster) -> None:
    """Days that are added up already, and the parts of days beside them."""
    use(cluster, (-700, 5000), (5010, 5020), (5100, None))
    metering.meter(organization)
    marks = [START + timedelta(minutes=minutes) for minutes in (-650, -13, 0, 900, 901, 2340, 3780, 5015, 6000, 9000)]
    parts = [hours.cost_times_60(organization, *pair) for pair in itertools.pairwise(marks)]
    assert sum(parts) == hours.cost_times_60(organization, marks[0], marks[-1])
    naive = sum(
        minutes_within(row.started_at, row.ended_at or marks[-1], marks[0], marks[-1]) * row.instances * row.hourly
        for row in UsageInterval.objects.all()
    )
    assert sum(parts) == naive > 0


def test_a_period_of_an_organization_is_open_once(organization: Organization) -> None:
    period = make_period(organization)
    period.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        period.save(force_insert=True)
