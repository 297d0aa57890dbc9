"""A month by the templates whose runs had the clusters; the parts are those of the whole."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Organization
from billing import metering
from billing.dashboard import dashboard
from billing.models import UsageInterval
from billing.months import midnight
from billing.templates import TEMPLATE
from billing.totals import Amount, added, usage_of
from billing.usage import minutes_within
from clusters.models import Cluster
from jobs.models import JobTemplate, Run, RunAttempt
from tests.billing.conftest import NOVEMBER, NOW
from tests.billing.test_metering import OCTOBER, ledger
from tests.factories import make_cluster, make_organization, make_run, make_template, make_user, make_workspace
from workspaces.models import Workspace

HOUR, DAY = 60, 1440
REST = "In no run of a template"


@pytest.fixture
def lab(organization: Organization) -> Workspace:
    return make_workspace(organization, name="Lab")


def attempt(cluster: Cluster, template: JobTemplate | None, *spans: tuple[float, float | None]) -> Run:
    """A run with attempts from and until these minutes after October 31, 23:00 UTC."""
    run = make_run(cluster, template=template)
    for number, (begun, ended) in enumerate(spans, 1):
        RunAttempt.objects.create(
            run=run,
            number=number,
            started_at=OCTOBER + timedelta(minutes=begun),
            ended_at=None if ended is None else OCTOBER + timedelta(minutes=ended),
        )
    return run


def lines(organization: Organization, now: datetime = NOW, workspace: Workspace | None = None) -> dict[str, int]:
    found = dashboard(organization, NOVEMBER, now, TEMPLATE, workspace)
    assert added(line.amount for line in found.lines) == found.total
    return {line.name: line.amount.minutes for line in found.lines}


def test_a_shared_cluster_is_a_templates_while_its_runs_have_it(organization: Organization, lab: Workspace) -> None:
    cluster = make_cluster(lab)
    ledger(cluster, (HOUR, "STATUS", "RUNNING", 2), (3 * HOUR, "REQUEST", "PAUSED", 2))
    etl, report = make_template(lab, name="etl"), make_template(lab, name="report")
    attempt(cluster, etl, (HOUR + 10, HOUR + 20), (HOUR + 25, HOUR + 30))  # the second is a retry
    attempt(cluster, report, (2 * HOUR, 3 * HOUR + 9))  # its end was found after the cluster was let go
    attempt(cluster, None, (HOUR + 40, HOUR + 50))
    metering.meter()
    assert lines(organization) == {"etl": 30, "report": 120, REST: 90}


def test_a_job_cluster_is_its_templates_from_beginning_to_end(organization: Organization, lab: Workspace) -> None:
    etl = make_template(lab, name="etl")
    run = attempt(make_cluster(lab), etl)
    own = make_cluster(lab, dedicated_to=run.pk)
    ledger(own, (HOUR, "STATUS", "RUNNING", 3), (2 * HOUR, "REQUEST", "TERMINATED", 3))
    Run.objects.filter(pk=run.pk).update(cluster=own)
    RunAttempt.objects.create(run=run, number=1, started_at=OCTOBER + timedelta(minutes=70))
    nobodys = make_cluster(lab, dedicated_to=attempt(make_cluster(lab), None).pk)
    ledger(nobodys, (HOUR, "STATUS", "RUNNING", 1), (2 * HOUR, "REQUEST", "TERMINATED", 1))
    metering.meter()
    assert lines(organization) == {"etl": 180, REST: 60}


def test_what_runs_now_counts_until_now(organization: Organization, lab: Workspace) -> None:
    begun = (NOW - OCTOBER) / timedelta(minutes=1) - 30
    etl, report = make_template(lab, name="etl"), make_template(lab, name="report")
    shared = make_cluster(lab)
    own = make_cluster(lab, dedicated_to=attempt(shared, report).pk)
    for cluster in (shared, own):
        ledger(cluster, (begun, "STATUS", "RUNNING", 1))
    attempt(shared, etl, (begun + 5, None))
    metering.meter()
    assert lines(organization) == {"etl": 25, "report": 30, REST: 5}


def test_days_and_months_have_their_parts(organization: Organization, lab: Workspace) -> None:
    cluster, etl = make_cluster(lab), make_template(lab, name="etl")
    ledger(cluster, (0, "STATUS", "RUNNING", 1), (3 * DAY, "REQUEST", "PAUSED", 1))
    attempt(cluster, etl, (30, HOUR + DAY + 15))
    metering.meter()
    parts = usage_of(organization, NOW).by_day_and_value(NOVEMBER.days(), TEMPLATE, [etl.pk])
    assert {day.day: amount.minutes for (day, _), amount in parts.items()} == {1: DAY, 2: 15}
    october = NOVEMBER.previous
    parts = usage_of(organization, NOW).by_day_and_value(october.days(), TEMPLATE, [etl.pk])
    assert parts == {(date(2026, 10, 31), etl.pk): Amount(30, Decimal("0.30"))}


def test_only_one_workspace_and_only_ones_own(organization: Organization, lab: Workspace) -> None:
    annex, abroad = make_workspace(organization), make_workspace(make_organization(make_user()))
    for place in (lab, annex, abroad):
        cluster = make_cluster(place)
        ledger(cluster, (HOUR, "STATUS", "RUNNING", 1), (2 * HOUR, "REQUEST", "PAUSED", 1))
        attempt(cluster, make_template(place, name=f"of {place.pk}"), (HOUR, 2 * HOUR))
    metering.meter()
    assert lines(organization) == {
        f"of {lab.pk}": 60,
        f"of {annex.pk}": 60,
    }
    assert lines(organization, workspace=lab) == {
        f"of {lab.pk}": 60,
    }


MINUTES = st.floats(0, 3 * DAY, allow_nan=False).map(lambda minutes: round(minutes, 3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(MINUTES, min_size=2, max_size=12, unique=True), owners=st.lists(st.integers(0, 2), min_size=12))
def test_parts_are_those_that_minutes_within_gives(db: None, cuts: list[float], owners: list[int]) -> None:
    """Runs that follow on each other in one interval: together they are the whole, each is its part by hand."""
    with transaction.atomic():
        organization = make_organization(make_user())
        place = make_workspace(organization)
        cluster, templates = make_cluster(place), [make_template(place), make_template(place), None]
        cuts = sorted(cuts)
        ledger(cluster, (cuts[0], "STATUS", "RUNNING", 2), (cuts[-1] + 0.001, "REQUEST", "PAUSED", 2))
        wanted: dict[tuple[date, object], int] = {}
        metering.meter()
        whole = UsageInterval.objects.get(cluster=cluster)
        assert whole.ended_at
        for (begun, ended), owner in zip(pairwise(cuts), owners, strict=False):
            run = attempt(cluster, templates[owner], (begun, ended))
            row = run.attempt_rows.get()
            assert row.ended_at
            for month in (NOVEMBER.previous, NOVEMBER):
                for day in month.days():
                    start = max(midnight(day), row.started_at)
                    end = min(midnight(day + timedelta(days=1)), row.ended_at)
                    if start < end and run.template_id:
                        key = (day, run.template_id)
                        minutes = 2 * minutes_within(whole.started_at, whole.ended_at, start, end)
                        wanted[key] = wanted.get(key, 0) + minutes
        usage = usage_of(organization, NOW)
        found: dict[tuple[date, object], int] = {}
        for month in (NOVEMBER.previous, NOVEMBER):
            parts = TEMPLATE.parts(usage, month.days())
            found |= {key: amount.minutes for key, amount in parts.items() if key[1]}
            assert all(amount.minutes >= 0 for amount in parts.values())
        assert {key: n for key, n in found.items() if n} == {key: n for key, n in wanted.items() if n}
        transaction.set_rollback(True)
