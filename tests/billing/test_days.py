"""The days that the intervals are added up to, however the ledger grew, and the command that derives all anew."""

from __future__ import annotations

import io
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import AuditEvent
from billing import metering
from billing.models import MeteredCluster, UsageDay, UsageInterval
from billing.proof import differences
from clusters.models import Cluster, Transition
from tests.billing.test_metering import OCTOBER, ledger
from tests.billing.test_usage import LEDGERS, Line, charged_at_each_minute
from tests.factories import make_cluster, make_organization, make_user, make_workspace
from workspaces.models import Workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization(make_user()))


@pytest.fixture
def cluster(workspace: Workspace) -> Cluster:
    return make_cluster(workspace)


def days(cluster: Cluster) -> dict[date, int]:
    found: Counter[date] = Counter()
    for day, minutes in UsageDay.objects.filter(cluster=cluster).values_list("day", "minutes"):
        found[day] += minutes
    return dict(found)


def closed(cluster: Cluster) -> dict[date, int]:
    """Minute by minute, of what has ended."""
    lines = list(cluster.transitions.order_by("seq"))
    found: Counter[date] = Counter()
    ended = [row.ended_at for row in UsageInterval.objects.filter(cluster=cluster) if row.ended_at]
    last = int((max(ended) - lines[0].at) / timedelta(minutes=1)) if ended else 0
    for minute, instances in enumerate(_charged(lines, last)):
        if instances:
            found[(lines[0].at + timedelta(minutes=minute)).date()] += instances
    return dict(found)


def _charged(lines: list[Transition], minutes: int) -> list[int]:
    moved = [Transition(at=line.at, kind=line.kind, status=line.status, instances=line.instances) for line in lines]
    return charged_at_each_minute(moved, minutes, start=lines[0].at)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LEDGERS, st.integers(0, 25), st.integers(0, 120))
def test_however_a_ledger_grew_the_days_are_the_same(
    workspace: Workspace, steps: list[tuple[int, Line]], cut: int, offset: int
) -> None:
    """Metered once in between and once at the end, or in one go; and as a count by hand says."""
    at, lines = float(offset), []
    for pause, line in steps:
        at += pause
        lines.append((at, *line))
    grown, whole = make_cluster(workspace), make_cluster(workspace)
    ledger(grown, *lines[:cut])
    metering.rebuild([grown.pk])
    ledger(grown, *lines[cut:])
    ledger(whole, *lines)
    metering.rebuild([grown.pk, whole.pk])
    assert days(grown) == days(whole)
    assert _intervals(grown) == _intervals(whole)
    assert [*differences(grown), *differences(whole)] == []
    if lines:
        assert days(grown) == closed(grown)


def _intervals(cluster: Cluster) -> list[tuple[Any, ...]]:
    rows = UsageInterval.objects.filter(cluster=cluster).order_by("started_at")
    return list(rows.values_list("started_at", "ended_at", "instance_type", "instances", "hourly"))


def test_only_what_has_ended_has_days(cluster: Cluster) -> None:
    ledger(cluster, (0, "STATUS", "RUNNING", 2))
    metering.meter()
    assert days(cluster) == {}
    ledger(cluster, (90, "REQUEST", "PAUSED", 2))
    metering.meter()
    assert days(cluster) == {date(2026, 10, 31): 120, date(2026, 11, 1): 60}


def test_what_did_not_change_is_not_written_again(cluster: Cluster) -> None:
    ledger(cluster, (0, "STATUS", "RUNNING", 2), (10, "REQUEST", "PAUSED", 2), (3000, "STATUS", "RUNNING", 1))
    metering.meter()
    before = set(UsageInterval.objects.values_list("pk", flat=True)), set(UsageDay.objects.values_list("pk", flat=True))
    ledger(cluster, (3100, "REQUEST", "STOPPED", 1))
    metering.meter()
    assert before[0] == set(UsageInterval.objects.values_list("pk", flat=True))
    assert before[1] < set(UsageDay.objects.values_list("pk", flat=True))


def test_many_clusters_take_as_many_queries_as_few(workspace: Workspace, django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        ledger(make_cluster(workspace), (0, "STATUS", "RUNNING", 2), (10, "REQUEST", "PAUSED", 2))
    with django_assert_max_num_queries(14):
        assert metering.meter() == 30
    assert UsageDay.objects.count() == 30


# --- deriving anew --------------------------------------------------------------------------------------------------


def check(*options: str) -> tuple[int, str]:
    said = io.StringIO()
    try:
        call_command("check_usage", *options, stdout=said)
    except SystemExit as end:
        return int(str(end.code)), said.getvalue()
    return 0, said.getvalue()


def metered(cluster: Cluster) -> None:
    ledger(cluster, (0, "STATUS", "RUNNING", 2), (90, "REQUEST", "PAUSED", 2), (100, "STATUS", "RUNNING", 1))
    metering.meter()


def test_usage_that_follows_from_the_ledgers(cluster: Cluster) -> None:
    metered(cluster)
    ledger(cluster, (110, "REQUEST", "PAUSED", 1))  # not metered yet, which is no fault
    assert check() == (0, "All usage is what the ledgers say.\n")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            lambda: UsageInterval.objects.filter(ended_at=None).delete(),
            "missing: 1 × local.1x from 2026-11-01 00:40:00",
        ),
        (lambda: UsageInterval.objects.exclude(ended_at=None).update(instances=9), "not in the ledger: 9 × local.1x"),
        (lambda: UsageDay.objects.filter(day="2026-11-01").update(minutes=1), "the total of 2026-11-01 is not"),
        (lambda: UsageDay.objects.filter(day="2026-11-01").delete(), "the total of 2026-11-01 is not"),
        (lambda: UsageDay.objects.update(hourly=Decimal(7)), "the total of 2026-10-31 is not"),
    ],
)
def test_usage_that_does_not_is_found_and_mended(cluster: Cluster, fault: Any, said: str) -> None:
    metered(cluster)
    intervals, before = _intervals(cluster), days(cluster)
    fault()
    status, text = check()
    assert status == 1
    assert f"{cluster.pk} {cluster.name}: {said}" in text
    assert check("--repair")[0] == 0
    assert check()[0] == 0
    event = AuditEvent.objects.get(verb="usage.repair")
    assert event.organization == cluster.workspace.organization
    assert any(line.startswith(said) for line in event.detail["differences"])
    assert (_intervals(cluster), days(cluster)) == (intervals, before)


def test_a_ledger_with_a_line_missing_is_told(cluster: Cluster) -> None:
    metered(cluster)
    MeteredCluster.objects.update(ledger_length=4)
    assert "the ledger has 3 lines of 4" in check()[1]


def test_the_clock_of_the_machine_does_not_matter(cluster: Cluster) -> None:
    """All times of a ledger are points in time; the database gives them in UTC."""
    metered(cluster)
    found = UsageInterval.objects.filter(cluster=cluster).earliest("started_at")
    assert (found.started_at, found.started_at.utcoffset()) == (OCTOBER, timedelta(0))
    assert isinstance(found.started_at, datetime)
