"""The audit log at its promised size: the search through a million events, and what writing one costs a request."""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench import stand
from bench.lists import settle, signed_in, worst_page
from bench.measure import Measurement

EVENTS = 1_000_000
OTHERS = 200_000
"""Events of other organizations, between those."""

BLOCK = 50_000
WRITES = 400
WARM_UP = 50
FILL = """
    INSERT INTO accounts_auditevent
        (at, organization_id, actor_kind, actor_user_id, actor_label, verb, object_type, object_id, object_label,
         address, detail)
    SELECT now() - interval '1 year' * (1 - made.part),
        CASE WHEN mod(n, 6) = 0 THEN %(other)s::uuid ELSE %(organization)s::uuid END,
        CASE WHEN mod(n, 50) = 0 THEN 'system' ELSE 'user' END, person,
        CASE WHEN mod(n, 50) = 0 THEN 'Bodo Cloud Platform (auto-pause)'
            ELSE name || ' Example <' || lower(name) || '-' || person || '@example.org>' END,
        verbs[verb], split_part(verbs[verb], '.', 1),
        CASE WHEN verb <= 3 THEN md5(n::text)::uuid ELSE md5(mod(n, 700)::text)::uuid END::text,
        CASE WHEN made.part < 0.3 AND mod(n, 3) = 0 THEN 'apollo' ELSE words[1 + mod(n, 10)] END || '-' || mod(n, 700),
        ('10.0.' || mod(n, 251) || '.' || mod(n, 241))::inet,
        jsonb_build_object(
            'workspace', 'Workspace ' || mod(n, 40), 'cluster', 'etl-' || mod(n, 300),
            'file', CASE WHEN mod(n, 250007) = 0 THEN 'quarterly.py' ELSE 'jobs/load_' || mod(n, 9973) || '.py' END
        )
    FROM generate_series(%(first)s::int, %(last)s) AS n
    CROSS JOIN (SELECT
        ARRAY['run.submit', 'run.cancel', 'run.finish', 'cluster.pause', 'cluster.resume', 'cluster.scale', 'file.save',
            'user.sign_in', 'workspace.delete'] AS verbs,
        ARRAY['Alice', 'Bob', 'Charlie', 'Dora', 'Erin', 'Frank', 'Grace', 'Heidi', 'Ivan', 'Judy'] AS names,
        ARRAY['orders', 'customers', 'features', 'invoices', 'sessions', 'forecast', 'telemetry', 'ledger', 'claims',
            'rides'] AS words) AS kinds
    CROSS JOIN LATERAL (SELECT n::float / %(all)s AS part,
        1 + mod(n * 7919::bigint, 1000) * mod(n * 104729::bigint, 1000) / 3300 AS person,
        CASE WHEN mod(n, 20011) = 0 THEN 9 WHEN mod(n, 7) = 0 THEN 4 + mod(n, 5) ELSE 1 + mod(n, 3) END AS verb) AS made
    CROSS JOIN LATERAL (SELECT names[1 + mod(person, 10)] AS name) AS named
"""
"""Three hundred people, of whom some do most; nine verbs, one of them rare; "apollo" in the oldest third only."""


def search() -> Measurement:
    """The page of the audit log, by every filter and by what is worst for each."""
    with stand.database():
        workspace, client = signed_in()
        fill(workspace.organization)
        settle()
        from accounts.models import AuditEvent

        rows = AuditEvent.objects.in_organization(workspace.organization).order_by("number")
        old, middle, new = rows[100], rows[EVENTS // 2], rows[EVENTS - 100]
        first, half = f"since={old.at:%Y-%m-%dT%H:%M}", f"until={middle.at:%Y-%m-%dT%H:%M}"
        pages = {
            "first page": "",
            "deep page": f"?before={old.number}",
            "backward page": f"?after={old.number}",
            "by somebody busy": "?person=bob-1@example.org",
            "by many": "?person=judy",
            "by nobody": "?person=mallory",
            "by verb": "?verb=run.submit",
            "by rare verb": "?verb=workspace.delete",
            "by object type": "?type=file",
            "by object": f"?object={middle.object_id}",
            "by a part of an object's name": "?object=rides-69",
            "by old time": f"?{first}&until={rows[2000].at:%Y-%m-%dT%H:%M}",
            "by new time": f"?since={new.at:%Y-%m-%dT%H:%M}",
            "by time, deep in it": f"?{first}&{half}&before={rows[200].number}",
            "by a text in all": "?q=example.org",
            "by a common text": "?q=orders",
            "by a text common long ago": "?q=apollo",
            "by a rare text": "?q=quarterly.py",
            "by a text that is not there": "?q=nothing+like+it",
            "by two texts, together long ago": "?q=apollo+heidi",
            "by two texts, never together": "?q=quarterly+apollo",
            "by person and rare verb": "?person=judy&verb=workspace.delete",
            "by person, verb, text and time": f"?person=heidi&verb=run.cancel&q=apollo&{first}&{half}",
            "by all, and not there": f"?person=alice&verb=file.save&type=file&object=apollo&q=load_1&{half}&{first}",
        }
        return worst_page(client, f"/o/{workspace.organization_id}/audit/", pages)


def write_cost() -> Measurement:
    """What one event adds to the transaction of a write, with its place in the chain; the floor is the rest of it.

    The log has a million events already, and so has its index. Both transactions take turns.
    """
    with stand.database():
        workspace, _ = signed_in()
        fill(workspace.organization)
        settle()
        from accounts import audit, audit_search
        from tests.factories import actor

        who = actor(workspace.organization.members.get())
        values, floors = [], []
        for turn in range(WARM_UP + WRITES):
            bare = _milliseconds(workspace, turn, None)
            whole = _milliseconds(
                workspace,
                turn,
                lambda name: audit.record(
                    who,
                    "workspace.rename",
                    workspace,
                    organization=workspace.organization,
                    before={"name": name},
                    after={"name": f"{name} again"},
                    region="local",
                ),
            )
            if turn % 200 == 0:
                audit_search.settle()  # as the scheduler does every few seconds
            if turn >= WARM_UP:
                floors.append(bare)
                values.append(whole - bare)
        notes = [f"The same transaction without the event takes {statistics.median(floors):.2f} ms"]
        return Measurement(values, floors, notes)


def fill(organization: Any) -> None:
    """A million events of the organization and some of another, without seals, which the search does not read."""
    from django.db import connection

    from tests.factories import make_organization

    values = {"organization": organization.pk, "other": make_organization().pk, "all": EVENTS + OTHERS}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_indexdef('audit_search'::regclass)")
        (index,) = cursor.fetchone()
        cursor.execute("DROP INDEX audit_search")  # made at once afterwards, which is ten times as fast
        cursor.execute("ALTER TABLE accounts_auditevent DISABLE TRIGGER audit_wait")
        for first in range(1, EVENTS + OTHERS, BLOCK):
            cursor.execute(FILL, {**values, "first": first, "last": first + BLOCK - 1})
        cursor.execute("ALTER TABLE accounts_auditevent ENABLE TRIGGER audit_wait")
        cursor.execute("SET maintenance_work_mem = '256MB'")
        cursor.execute(index)


def _milliseconds(workspace: Any, turn: int, note: Any) -> float:
    """One transaction that changes a row, as a request makes it."""
    from django.db import close_old_connections, transaction

    began = time.perf_counter()
    with transaction.atomic():
        workspace.name = f"Workspace {turn}"
        workspace.save(update_fields=["name"])
        if note:
            note(workspace.name)
    took = (time.perf_counter() - began) * 1000
    close_old_connections()
    return took
