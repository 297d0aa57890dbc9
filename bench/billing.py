"""Metering, statements and pages of bills at the sizes that are promised."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
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
YEAR_APART = 1051
"""Minutes between the beginnings of a cluster's intervals: 500 of them in a year."""

MONTH_APART = 86
"""The same in 30 days."""

YEAR = """
    INSERT INTO billing_usageinterval
        (organization_id, workspace_id, cluster_id, started_at, ended_at, instance_type, instances, hourly)
    SELECT %(organization)s, one.workspace_id, one.id, at, at + (5 + n %% 71) * interval '1 minute',
        CASE WHEN n %% 5 = 0 THEN 'local.2x' ELSE 'local.4x' END, 1 + n %% 4,
        CASE WHEN n %% 5 = 0 THEN 0.12 ELSE 0.24 END
    FROM generate_series(0, %(intervals)s - 1) AS n
    CROSS JOIN LATERAL (
        SELECT now() - interval '3 hours' - (n / %(clusters_count)s) * %(apart)s * interval '1 minute' AS at
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

ADDED_UP = """
    SELECT sum(instances * extract(epoch FROM ended_at - started_at) * hourly) FROM billing_usageinterval
    WHERE organization_id = %s AND started_at >= %s AND started_at < %s
"""
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


def statement() -> Measurement:
    """Closing a month in which an organization had a million intervals; its floor is adding them up alone."""
    with stand.database():
        import psutil
        from django.db import connection, transaction
        from django.utils import timezone

        from billing.statements import close

        workspace, client = signed_in()
        add_year(workspace, apart=MONTH_APART)
        settle()
        organization, now = workspace.organization, timezone.now()
        month = _month_of_most(organization)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            backend = psutil.Process(cursor.fetchone()[0])
            own = psutil.Process()
            before = own.memory_info().rss
            closings, sums = [], []
            for turn in range(PASSES):
                began = time.perf_counter()
                with transaction.atomic():
                    assert close(organization, month, now)
                    closings.append(time.perf_counter() - began)
                    transaction.set_rollback(turn < PASSES - 1)
                began = time.perf_counter()
                cursor.execute(ADDED_UP, [organization.pk, month.start, month.end])
                sums.append(time.perf_counter() - began)
            used = own.memory_info().rss - before
            anonymous = backend.memory_info().rss - backend.memory_info().shared
        url = f"/o/{organization.pk}/billing/statements/{month}/"
        page = worst_page(client, url, {"the first page": "", "the last page": "?page=99999"})
        in_month = _intervals_in(organization, month)
        notes = [
            f"{in_month:,} of a million intervals are in {month}; memory: the portal's process grew by "
            f"{used / 1e6:.0f} MB, the database's has {anonymous / 1e6:.0f} MB of its own",
            f"Its page: {statistics.median(page.values):.0f} ms",
        ]
        return Measurement(closings, sums, notes)


def export_memory() -> Measurement:
    """By how much the process grows while it streams a million intervals, in each kind of file."""
    with stand.database():
        import psutil
        from django.utils import timezone

        from billing.export import COLUMNS, Range, batches
        from portal.export import FORMATS

        workspace, _ = signed_in()
        add_year(workspace)
        settle()
        now = timezone.now()
        days = Range((now - timedelta(days=400)).date(), now.date())
        own, growth, notes = psutil.Process(), [], []
        for name, form in FORMATS.items():
            began, size, highest, base = time.perf_counter(), 0, 0, 0
            for number, piece in enumerate(form.write(COLUMNS, batches(workspace.organization, days, now))):
                size += len(piece)
                resident = own.memory_info().rss
                base = resident if number == 1 else base  # what it imports is there once something came
                highest = max(highest, resident)
            growth.append((highest - base) / 1e6)
            took = time.perf_counter() - began
            notes.append(f"{name}: {size / 1e6:.0f} MB in {took:.0f} s, the process had {highest / 1e6:.0f} MB at most")
        return Measurement([max(growth)], (), notes)


def _month_of_most(organization: Any) -> Any:
    from django.utils import timezone

    from billing.months import Month

    this = Month.of(timezone.now().date())
    return max((this, this.previous), key=lambda month: _intervals_in(organization, month))


def _intervals_in(organization: Any, month: Any) -> int:
    """The intervals that have a part in a month."""
    from billing.models import UsageInterval

    return UsageInterval.objects.in_organization(organization).overlapping(month.start, month.end).count()


def add_year(workspace: Any, apart: int = YEAR_APART) -> None:
    """A million intervals in the 365 days before now: 2,000 clusters in 10 workspaces, most of them paused and resumed
    several times on each day on which they were used; 200 run now. The days are added up as metering does it. Another
    number of minutes ``apart`` brings them into less time."""
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
    sizes = {"intervals": INTERVALS, "clusters_count": YEAR_CLUSTERS, "apart": apart}
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
