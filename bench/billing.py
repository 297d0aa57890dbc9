"""Metering, statements and pages of bills at the sizes that are promised."""

from __future__ import annotations

import time
from typing import Any

from bench import stand
from bench.lists import settle, signed_in
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
