"""Metering, statements and pages of bills at the sizes that are promised."""

from __future__ import annotations

import time
from typing import Any

from bench import stand
from bench.lists import settle, signed_in, worst_page
from bench.measure import Measurement

RUNNING = 100_000
GROWN = 1_000
"""Ledgers with a new line since the pass before, ten seconds ago: each cluster paused every quarter of an hour."""

PASSES = 5

CLUSTERS = """
    INSERT INTO clusters_cluster ({columns})
    SELECT {values} FROM clusters_cluster one, generate_series(1, %s) AS n WHERE one.id = %s
"""
LEDGER = """
    INSERT INTO clusters_transition (cluster_id, seq, at, kind, status, instance_type, instances, actor_label)
    SELECT id, %(seq)s, now() - %(minutes)s * interval '1 minute', %(kind)s, %(status)s, instance_type, 2, ''
    FROM clusters_cluster WHERE id IN (SELECT id FROM clusters_cluster ORDER BY id LIMIT %(count)s)
"""
GROWTH = """
    UPDATE clusters_cluster SET ledger_length = %(seq)s
    WHERE id IN (SELECT id FROM clusters_cluster ORDER BY id LIMIT %(count)s)
"""


INTERVALS = 1_000_000
YEAR_CLUSTERS = 2_000
YEAR_RUNNING = 200
YEAR = """
    INSERT INTO billing_usageinterval
        (organization_id, workspace_id, cluster_id, started_at, ended_at, instance_type, instances, hourly)
    SELECT %(organization)s, one.workspace_id, one.id, at, at + (5 + n %% 71) * interval '1 minute',
        CASE WHEN n %% 5 = 0 THEN 'local.2x' ELSE 'local.4x' END, 1 + n %% 4,
        CASE WHEN n %% 5 = 0 THEN 0.12 ELSE 0.24 END
    FROM generate_series(0, %(intervals)s - 1) AS n
    CROSS JOIN LATERAL (
        SELECT now() - interval '3 hours' - (n / %(clusters_count)s) * interval '1051 minutes' AS at
    ) AS begun
    JOIN clusters_cluster AS one ON one.id = (%(clusters)s::uuid[])[1 + n %% %(clusters_count)s]
"""
DAYS = """
    INSERT INTO billing_usageday (organization_id, workspace_id, cluster_id, day, instance_type, hourly, minutes)
    SELECT organization_id, workspace_id, cluster_id, (started_at AT TIME ZONE 'UTC')::date, instance_type, hourly,
        sum(instances * extract(epoch FROM ended_at - started_at)::int / 60)
    FROM billing_usageinterval WHERE ended_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
"""
"""By the day on which an interval began, which is near enough here."""

OPEN = """
    INSERT INTO billing_usageinterval
        (organization_id, workspace_id, cluster_id, started_at, instance_type, instances, hourly)
    SELECT workspace.organization_id, workspace.id, one.id, now() - interval '50 minutes', 'local.4x', 2, 0.24
    FROM clusters_cluster AS one JOIN workspaces_workspace AS workspace ON workspace.id = one.workspace_id
    WHERE one.id = ANY(%(clusters)s::uuid[])
"""


def metering_pass() -> Measurement:
    """A pass over 100,000 running clusters, 1,000 of which were paused or resumed since the last one; its floor is a
    pass in which none was."""
    with stand.database():
        from django.db import connection

        from billing import metering

        workspace, _ = signed_in()
        add_running(workspace, RUNNING)
        began = time.perf_counter()
        while metering.meter():
            pass
        first = time.perf_counter() - began
        settle()
        passes, idle = [], []
        with connection.cursor() as cursor:
            for turn in range(PASSES):
                line = ("REQUEST", "PAUSED") if turn % 2 == 0 else ("STATUS", "RUNNING")
                _grow(cursor, 3 + turn, line, GROWN, 10 - turn)
                began = time.perf_counter()
                assert metering.meter() == GROWN
                passes.append(time.perf_counter() - began)
                began = time.perf_counter()
                assert metering.meter() == 0
                idle.append(time.perf_counter() - began)
        return Measurement(passes, idle, [f"The first pass, over all {RUNNING:,} ledgers: {first:.1f} s"])


def dashboard_page() -> Measurement:
    """The billing page of an organization with a million intervals in a year, by whatever it can be added up by."""
    with stand.database():
        workspace, client = signed_in()
        add_year(workspace)
        settle()
        ways = ("cluster", "workspace", "user", "type", "tag:team")
        pages = {f"by {way}": f"?by={way}" for way in ways}
        pages |= {f"{way}, a month ago": f"?by={way}&month={_month_ago()}" for way in ("cluster", "tag:team")}
        pages["by cluster in one workspace"] = f"?by=cluster&workspace={workspace.pk}"
        return worst_page(client, f"/o/{workspace.organization_id}/billing/", pages)


def _month_ago() -> str:
    from django.utils import timezone

    from billing.months import Month

    return str(Month.parse("", timezone.now().date()).previous)


def add_year(workspace: Any) -> None:
    """A million intervals in the 365 days before now: 2,000 clusters in 10 workspaces, most of them paused and resumed
    several times on each day on which they were used; 200 run now. The days are added up as metering does it."""
    from django.db import connection

    from tests.factories import make_cluster, make_workspace

    places = [workspace, *(make_workspace(workspace.organization, workspace.cloud_configuration) for _ in range(9))]
    made = [
        make_cluster(
            places[number % 10],
            name=f"cluster-{number:04}",
            created_by=workspace.organization.members.get(),
            tags={"team": f"team-{number % 25}", "stage": "test" if number % 3 else "live"},
        ).pk
        for number in range(YEAR_CLUSTERS)
    ]
    sizes = {"intervals": INTERVALS, "clusters_count": YEAR_CLUSTERS}
    with connection.cursor() as cursor:
        cursor.execute(YEAR, {"clusters": made, "organization": workspace.organization_id, **sizes})
        cursor.execute(DAYS)
        cursor.execute("UPDATE clusters_cluster SET ledger_length = 0")
        cursor.execute(OPEN, {"clusters": made[:YEAR_RUNNING]})


def add_running(workspace: Any, count: int) -> None:
    """Clusters that run, with a ledger of two lines each; copied by the database."""
    from django.db import connection

    from clusters.models import Cluster
    from tests.factories import make_cluster

    one = make_cluster(workspace, name="one")
    own = {"id": "gen_random_uuid()", "number": "nextval('clusters_cluster_number')", "name": "'cluster-' || n"}
    columns = [str(field.column) for field in Cluster._meta.concrete_fields]
    values = ", ".join(own.get(column, f"one.{column}") for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(CLUSTERS.format(columns=", ".join(columns), values=values), [count - 1, one.pk])
        _grow(cursor, 1, ("REQUEST", "RUNNING"), count, 60)
        _grow(cursor, 2, ("STATUS", "RUNNING"), count, 55)


def _grow(cursor: Any, seq: int, line: tuple[str, str], count: int, minutes: int) -> None:
    values = {"seq": seq, "kind": line[0], "status": line[1], "count": count, "minutes": minutes}
    cursor.execute(LEDGER, values)
    cursor.execute(GROWTH, values)
