"""What auto-pause and auto-stop saved: from the ledger, at the rate of the interval, within bounds, and to the cent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.models import Organization
from accounts.permissions import OrganizationRole
from billing import metering, savings
from billing.models import MeteredCluster, Rate, Saving, UsageInterval
from billing.months import Month
from clusters import pricing, services, services_idle
from clusters.models import Cluster, Transition
from clusters.services import ACTIONS
from tests.billing.test_metering import rate
from tests.factories import actor, add_to_organization, make_cluster, make_organization, make_user, make_workspace
from tests.fakes import Clock, FakeCloud, Workers

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NOVEMBER = Month(date(2026, 11, 1))
AUTO_PAUSE, AUTO_STOP = "Bodo Cloud Platform (auto-pause)", "Bodo Cloud Platform (auto-stop)"


@pytest.fixture
def organization(db: None) -> Organization:
    Rate.objects.all().delete()
    rate("0.60", datetime(2026, 1, 1, tzinfo=UTC))
    return make_organization(make_user("owner"))


@pytest.fixture
def cluster(organization: Organization) -> Cluster:
    return make_cluster(make_workspace(organization), name="etl")


def write(cluster: Cluster, *lines: tuple[float, str, str, str]) -> None:
    """Minutes after START, kind, status and who asked; two instances."""
    for seq, (minute, kind, status, who) in enumerate(lines, cluster.ledger_length + 1):
        Transition.objects.create(
            cluster=cluster,
            seq=seq,
            at=START + timedelta(minutes=minute),
            kind=kind,
            status=status,
            instances=2,
            instance_type="local.1x",
            actor_label=who,
        )
    cluster.ledger_length += len(lines)
    cluster.save(update_fields=["ledger_length"])
    metering.rebuild([cluster.pk])


def runs(minute: float) -> tuple[float, str, str, str]:
    return minute, "STATUS", "RUNNING", ""


def asks(minute: float, status: str, who: str = "Ada <ada@example.org>") -> tuple[float, str, str, str]:
    return minute, "REQUEST", status, who


def minutes_at(minute: float) -> list[int]:
    """What counts of each pause so many minutes after START."""
    now = START + timedelta(minutes=minute)
    rows = Saving.objects.order_by("paused_at")
    return [savings.minutes_saved(row.paused_at, row.ended_at, now) for row in rows]


# --- the rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "RUNNING")], [120]),
        ([runs(0), asks(60, "STOPPED", AUTO_STOP), asks(180, "RUNNING")], [120]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "TERMINATED")], [120]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "STOPPED")], [120]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "RUNNING", "Bodo Cloud Platform (run x)")], [120]),
        # A stop that follows by itself neither ends it nor saves once more.
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(90, "STOPPED", AUTO_STOP), asks(180, "RUNNING")], [120]),
        # Somebody's own pause saves nothing of ours, nor does the stop that follows it.
        ([runs(0), asks(60, "PAUSED"), asks(90, "STOPPED", AUTO_STOP), asks(180, "RUNNING")], []),
        ([runs(0), asks(60, "PAUSED", "Bodo Cloud Platform (budget)"), asks(180, "RUNNING")], []),
        ([runs(0), asks(60, "STOPPED", "Bodo Cloud Platform (maximum lifetime)"), asks(180, "RUNNING")], []),
        # Twelve hours of one pause, and no more.
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(60 + 720, "RUNNING")], [720]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(60 + 721, "RUNNING")], [720]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE)], [720]),
        # Half up.
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(60.49, "RUNNING")], [0]),
        ([runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(60.5, "RUNNING")], [1]),
        # Each pause for itself.
        (
            [
                *(runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(70, "RUNNING"), runs(75)),
                *(asks(100, "PAUSED", AUTO_PAUSE), asks(130, "RUNNING")),
            ],
            [10, 30],
        ),
        # One that was not charged: it had failed at that moment.
        ([runs(0), (50, "STATUS", "FAILED", ""), asks(60, "STOPPED", AUTO_STOP)], []),
    ],
)
def test_what_counts(cluster: Cluster, lines: list[tuple[float, str, str, str]], expected: list[int]) -> None:
    write(cluster, *lines)
    assert minutes_at(100_000) == expected


def test_while_nobody_asks_it_grows_up_to_the_bound(cluster: Cluster) -> None:
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE))
    assert [minutes_at(minute) for minute in (0, 60, 61, 779, 780, 5000)] == [[0], [0], [1], [719], [720], [720]]


def test_it_keeps_the_rate_and_the_size_of_the_interval(cluster: Cluster, organization: Organization) -> None:
    Rate.objects.update(valid_to=START + timedelta(minutes=30))
    rate("1.20", START + timedelta(minutes=30))
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "RUNNING"))
    total = savings.saved(organization, NOVEMBER, START + timedelta(days=9))
    assert total == Decimal("0.60") * 2 * 2  # two hours of two instances
    assert UsageInterval.objects.get().hourly == Saving.objects.get().hourly == Decimal("0.60")


def test_it_belongs_to_the_month_in_which_it_began(cluster: Cluster, organization: Organization) -> None:
    end_of_november = (NOVEMBER.end - START).total_seconds() / 60
    write(cluster, runs(0), asks(end_of_november - 1, "PAUSED", AUTO_PAUSE), asks(end_of_november + 59, "RUNNING"))
    now = NOVEMBER.end + timedelta(days=1)
    assert savings.saved(organization, NOVEMBER, now) == Decimal("1.20")
    assert savings.saved(organization, NOVEMBER.next, now) == 0


def test_other_organizations_are_not_counted(cluster: Cluster, organization: Organization) -> None:
    stranger = make_cluster(make_workspace(make_organization()))
    for each in (cluster, stranger):
        write(each, runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(120, "RUNNING"))
    now = START + timedelta(days=1)
    assert savings.saved(organization, NOVEMBER, now) == Decimal("1.20")
    (line,) = savings.saved_by_cluster(organization, NOVEMBER, now, 10)
    assert (line.cluster, line.pauses, line.dollars) == (cluster, 1, Decimal("1.20"))


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_ledger_that_grows_changes_only_what_differs(cluster: Cluster) -> None:
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE))
    first = Saving.objects.get()
    assert first.ended_at is None
    write(cluster, asks(90, "RUNNING"), runs(95), asks(200, "PAUSED", AUTO_PAUSE))
    rows = list(Saving.objects.order_by("paused_at"))
    assert rows[0].pk == first.pk
    assert [row.ended_at for row in rows] == [START + timedelta(minutes=90), None]
    keys = [row.pk for row in rows]
    metering.rebuild([cluster.pk])
    assert [row.pk for row in Saving.objects.order_by("paused_at")] == keys


def test_the_check_finds_what_is_wrong_and_mends_it(cluster: Cluster, organization: Organization) -> None:
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(120, "RUNNING"))
    Saving.objects.update(hourly=9)
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("check_usage", stdout=out)
    assert "what was saved from 2026-11-02 10:00:00 UTC is not what the ledger says" in out.getvalue()
    call_command("check_usage", "--repair", stdout=out)
    assert Saving.objects.get().hourly == Decimal("0.60")
    call_command("check_usage", stdout=out)


def test_clusters_that_were_never_let_go_cost_no_query(cluster: Cluster, django_assert_num_queries: Any) -> None:
    write(cluster, runs(0), asks(60, "PAUSED"))
    row = Cluster.objects.select_related("workspace").get(pk=cluster.pk)
    metered = savings.Metered(row, list(row.transitions.all()), [])
    with django_assert_num_queries(0):
        savings.write([metered])


LINES = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.sampled_from(
            [
                *(("STATUS", "RUNNING", ""), ("STATUS", "RUNNING", ""), ("STATUS", "FAILED", "")),
                *(
                    ("REQUEST", "PAUSED", AUTO_PAUSE),
                    ("REQUEST", "PAUSED", AUTO_PAUSE),
                    ("REQUEST", "STOPPED", AUTO_STOP),
                ),
                *(("REQUEST", "RUNNING", "Ada"), ("REQUEST", "PAUSED", "Ada"), ("REQUEST", "TERMINATED", "Ada")),
            ]
        ),
    ),
    max_size=12,
)


@pytest.mark.django_db
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    drawn=[[(0, ("STATUS", "RUNNING", "")), (1, ("REQUEST", "PAUSED", "Ada")), (1, ("REQUEST", "PAUSED", AUTO_PAUSE))]],
    later=240_000,
)
@given(drawn=st.lists(LINES, min_size=1, max_size=3), later=st.integers(4000 * 60, 300_000))
def test_the_database_adds_up_what_a_minute_by_minute_count_gives(
    organization: Organization, drawn: list[list[Any]], later: int
) -> None:
    """The naive count walks over every minute of rest after an automatic pause, until somebody asks or the bound."""
    for table in (Saving, UsageInterval, MeteredCluster, Transition):
        table.objects.all().delete()
    workspace = make_workspace(organization)
    now = START + timedelta(seconds=later)
    expected = Decimal(0)
    for lines in drawn:
        ledger = [(minute, *line) for minute, line in sorted(lines, key=lambda line: line[0])]
        write(make_cluster(workspace), *ledger)
        expected += naive(ledger, later / 60)
    assert savings.saved(organization, NOVEMBER, now) == expected
    by_cluster = savings.saved_by_cluster(organization, NOVEMBER, now, 100)
    assert sum((line.dollars for line in by_cluster), Decimal(0)) == expected


def naive(ledger: list[tuple[float, str, str, str]], now: float) -> Decimal:
    running_since: float | None = None
    paused: float | None = None
    dollars = Decimal(0)

    def close(at: float) -> None:
        nonlocal paused, dollars
        if paused is not None:
            rest = max(0.0, min(at, now, paused + 720) - paused) if at > paused else 0
            dollars += Decimal(int(rest + 0.5)) * 2 * Decimal("0.60") / 60
        paused = None

    for minute, kind, status, who in ledger:
        if kind == "STATUS":
            running_since = (minute if running_since is None else running_since) if status == "RUNNING" else None
            continue
        automatic = who.startswith("Bodo Cloud Platform (auto-")
        if not automatic:
            close(minute)
        if status != "RUNNING":
            if automatic and paused is None and running_since is not None and minute > running_since:
                paused = minute
            running_since = None
    close(now)
    return dollars


def test_a_real_pause_is_counted(organization: Organization, fake_cloud: FakeCloud, workers: Workers) -> None:
    """By the platform's own services: what they write is what is read."""
    cluster = services.create_cluster(
        actor=actor(),
        workspace=make_workspace(organization),
        name="real",
        instance_type="local.1x",
        instances=2,
        release="2026.10",
        auto_pause_minutes=30,
    )
    workers.work()
    workers.clock.move(minutes=31)
    assert services_idle.pause_idle() == 1
    workers.work()
    workers.clock.move(hours=2)
    paused = cluster.transitions.filter(status="PAUSED", kind="REQUEST").get()
    services.act(actor=actor(make_user()), cluster=cluster, action=ACTIONS["resume"])
    metering.meter()
    row = Saving.objects.get()
    assert (row.paused_at, row.instances, row.hourly) == (paused.at, 2, Decimal("0.60"))
    assert savings.minutes_saved(row.paused_at, row.ended_at, workers.clock.at) == 120


# --- the pages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(organization: Organization) -> Client:
    client = Client()
    client.force_login(organization.memberships.get().user)
    return client


def test_the_page_of_bills_asks_for_the_figure_afterwards(
    cluster: Cluster, organization: Organization, owner: Client, clock: Clock
) -> None:
    clock.at = START + timedelta(days=1)
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "RUNNING"))
    page = owner.get(f"/o/{organization.pk}/billing/?month=2026-11").content.decode()
    address = f"/o/{organization.pk}/billing/saved/?month=2026-11"
    assert f'hx-get="{address}"' in page
    assert "2.40" not in page
    figure = owner.get(address, headers={"hx-request": "true"}).content.decode()
    assert "2.40 <small>USD" in figure
    assert "<html" not in figure
    full = owner.get(address).content.decode()
    assert "2.4000" in full
    assert "etl" in full
    assert "at most 12 hours for each pause" in full


def test_the_cluster_s_page_has_its_own(cluster: Cluster, owner: Client, clock: Clock) -> None:
    clock.at = START + timedelta(days=1)
    page = cluster.get_absolute_url()
    assert "Saved this month" not in owner.get(page).content.decode()
    write(cluster, runs(0), asks(60, "PAUSED", AUTO_PAUSE), asks(180, "RUNNING"))
    assert pricing.saved_this_month(cluster) == Decimal("2.40")
    assert "Saved this month</dt><dd>2.40 USD" in owner.get(page).content.decode()
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    assert pricing.saved_this_month(cluster) == 0


@pytest.mark.parametrize(("role", "status"), [(OrganizationRole.BILLING, 200), (OrganizationRole.MEMBER, 403)])
def test_who_sees_usage_sees_it(organization: Organization, role: OrganizationRole, status: int) -> None:
    client = Client()
    user = make_user()
    add_to_organization(organization, user, role)
    client.force_login(user)
    assert client.get(f"/o/{organization.pk}/billing/saved/").status_code == status


def test_many_clusters_take_no_more_queries(
    organization: Organization, owner: Client, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    where = f"/o/{organization.pk}/billing/saved/?month=2026-11"
    workspace = make_workspace(organization)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(where).status_code == 200
        return len(captured)

    write(make_cluster(workspace), runs(0), asks(60, "PAUSED", AUTO_PAUSE))
    queries()
    one = queries()
    for _ in range(5):
        write(make_cluster(workspace), runs(0), asks(60, "PAUSED", AUTO_PAUSE))
    assert queries() == one
