"""Server time of the long lists: the whole answer, from the request to the last byte, at the promised sizes."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from bench import stand
from bench.measure import Measurement

if TYPE_CHECKING:
    from workspaces.models import Workspace

CLUSTERS = 10_000
RUNS = 100_000
CLUSTERS_OF_RUNS = 200
FILTERED_RUNS = 50_000
SLOWEST, ROUGHLY = 8, 3
"""How many combinations of filters are measured well, and how often all of them are tried to find these."""

QUEUED = 1000
COPIES = 50
WARM_UP = 5
REPEATS = 40
NEEDLE = "quarterly"
Row = TypeVar("Row")


def clusters() -> Measurement:
    """The list of 10,000 clusters."""
    with stand.database():
        workspace, client = signed_in()
        add_clusters(workspace, CLUSTERS)
        settle()
        from clusters.models import Cluster

        deep = Cluster.objects.order_by("number").values_list("number", flat=True)[100]
        pages = {
            "first page": "",
            "deep page": f"?before={deep}",
            "backward page": f"?after={deep}",
            "by status": "?status=RUNNING",
            "by rare status": "?status=FAILED",
            "by name": f"?q={NEEDLE}",
            "by a name that is not there": "?q=nothing+like+it",
            "by name and status": f"?q={NEEDLE}&status=PAUSED",
        }
        return worst_page(client, f"/w/{workspace.pk}/clusters/", pages)


def runs() -> Measurement:
    """The list of 100,000 runs on 200 clusters, 100 of which have a queue."""
    with stand.database():
        workspace, client = signed_in()
        add_runs(workspace, add_clusters(workspace, CLUSTERS_OF_RUNS), RUNS)
        settle()
        from jobs.models import Run

        deep = Run.objects.order_by("number").values_list("number", flat=True)[100]
        busy = Run.objects.order_by("number")[0].cluster_id
        pages = {
            "first page": "",
            "deep page": f"?before={deep}",
            "backward page": f"?after={deep}",
            "by status": "?status=FAILED",
            "by rare status": "?status=TIMEOUT",
            "the queue": "?status=PENDING",
            "by cluster": f"?cluster={busy}",
            "by name": f"?q={NEEDLE}",
            "by a name that is not there": "?q=nothing+like+it",
            "by name and status": f"?q={NEEDLE}&status=FAILED",
        }
        return worst_page(client, f"/w/{workspace.pk}/jobs/", pages)


def filtered_runs() -> Measurement:
    """The list of 50,000 runs by every combination of its filters, with a value of each kind that there is: common,
    rare and absent; a name of two letters, which are looked for where words begin; and the oldest page of some."""
    with stand.database():
        workspace, client = signed_in()
        clusters = add_clusters(workspace, CLUSTERS_OF_RUNS)
        add_runs(workspace, clusters[:-1], FILTERED_RUNS)
        settle()
        from jobs.models import Run

        old = Run.objects.order_by("number").values_list("number", flat=True)[100]
        queries = {
            "status": ["", "SUCCEEDED", "FAILED", "TIMEOUT", "PENDING", "RUNNING"],
            "cluster": ["", str(Run.objects.order_by("number")[0].cluster_id), str(clusters[-1].pk)],
            "q": ["", "orders", NEEDLE, "or", "zq", "nothing like it"],
            "before": ["", str(old)],
        }
        pages = {}
        for values in itertools.product(*queries.values()):
            given = {name: value for name, value in zip(queries, values, strict=True) if value}
            pages[", ".join(f"{name} {value[:10]}" for name, value in given.items()) or "all"] = f"?{urlencode(given)}"
        path = f"/w/{workspace.pk}/jobs/"
        rough = {
            name: min(milliseconds(get, client, path + query) for _ in range(ROUGHLY)) for name, query in pages.items()
        }
        slowest = sorted(pages, key=lambda name: -rough[name])[:SLOWEST]
        measured = worst_page(client, path, {name: pages[name] for name in slowest})
        notes = [f"The {SLOWEST} slowest of {len(pages)} combinations:", *measured.notes]
        return Measurement(measured.values, measured.floors, notes)


def add_clusters(workspace: Workspace, count: int) -> list[Any]:
    """Clusters of every kind, most of them at rest; names, handles and tags of ordinary length."""
    from django.utils import timezone

    from clusters.models import Cluster
    from portal.clouds.base import Target

    chance = random.Random(1)
    target = {"RUNNING": Target.RUNNING, "PAUSED": Target.PAUSED, "FAILED": Target.RUNNING}
    now = timezone.now()

    def rows() -> Iterator[Cluster]:
        for index in range(count):
            status = chance.choices(["RUNNING", "PAUSED", "STOPPED", "FAILED"], [25, 35, 39, 1])[0]
            yield Cluster(
                workspace=workspace,
                name=f"{NEEDLE if index % 97 == 0 else chance.choice(_WORDS)}-{index:05}",
                description="Nightly load of the warehouse" if index % 3 == 0 else "",
                tags={"team": chance.choice(_WORDS), "cost-center": str(index % 40)},
                instance_type="local.4x",
                instances=4,
                deployed_instances=4 if status == "RUNNING" else 0,
                deployed_generation=1,
                release="2026.10",
                status=status,
                target=target.get(status, Target.STOPPED).value,
                due_at=None,
                failure_code="InsufficientCapacity" if status == "FAILED" else "",
                failure_message="There are not enough machines of this type." if status == "FAILED" else "",
                handle={"steps": {f"node-{n}": {"id": f"nodes/{index}-{n}", "state": "ready"} for n in range(8)}},
                nodes=[{"index": n, "name": f"node-{n}", "address": "10.0.0.1", "health": "healthy"} for n in range(4)],
                last_activity_at=now - timedelta(minutes=count - index),
            )

    return list(itertools.chain.from_iterable(map(Cluster.objects.bulk_create, _batches(rows()))))


def add_runs(workspace: Workspace, places: list[Any], count: int) -> None:
    """Runs in the order of their submission: most succeeded, some failed in their ways, the newest wait.

    A part is made by the ORM and copied by the database, which is faster by far.
    """
    from jobs.models import Run

    chance = random.Random(2)
    kinds = [("SUCCEEDED", ""), ("FAILED", "NonZeroExitCode"), ("CANCELLED", "Cancelled"), ("TIMEOUT", "Timeout")]
    pattern = (count - QUEUED) // COPIES
    ended = (
        _run(workspace, chance.choice(places), index, *chance.choices(kinds, [800, 150, 45, 5])[0])
        for index in range(pattern)
    )
    for batch in _batches(ended):
        Run.objects.bulk_create(batch)
    for _ in range(COPIES - 1):
        _copy_newest(pattern)
    busy = places[: len(places) // 2]
    Run.objects.bulk_create(
        [_run(workspace, busy[index % len(busy)], index, "PENDING", "Queued") for index in range(QUEUED)]
    )


def _run(workspace: Workspace, cluster: Any, index: int, status: str, reason: str) -> Any:
    from django.utils import timezone

    from jobs.models import Run

    waits = status == "PENDING"
    submitted = timezone.now() - timedelta(minutes=3)
    return Run(
        workspace=workspace,
        cluster=cluster,
        name=f"{NEEDLE if index % 997 == 0 else _WORDS[index % len(_WORDS)]} {index:06}",
        file=f"jobs/{_WORDS[index % 7]}/load.py",
        arguments=["--day", "2026-10-01"],
        environment_keys=["STAGE"],
        mode="spawn",
        workers=16,
        status=status,
        reason=reason,
        exit_code=None if waits else int(status != "SUCCEEDED"),
        due_at=None,
        handle={} if waits else {"run": f"runs/{index}", "node": "node-0", "exit": {"code": 0}},
        requested_by=workspace.organization.members.get(),
        created_at=submitted,
        started_at=None if waits else submitted,
        ended_at=None if waits else submitted + timedelta(minutes=3),
    )


def _copy_newest(count: int) -> None:
    from django.db import connection

    from jobs.models import Run

    own = {"id": "gen_random_uuid()", "number": "nextval('jobs_run_number')"}
    columns = [field.column or field.name for field in Run._meta.concrete_fields]
    values = ", ".join(own.get(column, column) for column in columns)
    newest = f"(SELECT * FROM jobs_run ORDER BY number DESC LIMIT {count}) newest"
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO jobs_run ({', '.join(columns)}) SELECT {values} FROM {newest} ORDER BY number")


_WORDS = [
    "orders",
    "customers",
    "features",
    "invoices",
    "sessions",
    "forecast",
    "telemetry",
    "ledger",
    "claims",
    "rides",
]


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, 2000)):
        yield batch


def signed_in() -> tuple[Workspace, Any]:
    from django.test import Client

    from tests.factories import make_organization, make_user, make_workspace

    user = make_user("alice")
    workspace = make_workspace(make_organization(user))
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    return workspace, client


def settle() -> None:
    """As autovacuum leaves tables behind after a while."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def worst_page(client: Any, path: str, pages: dict[str, str]) -> Measurement:
    """The page with the largest median; its floor is its own queries, sent bare and fetched.

    All pages take turns, so that a moment in which the machine is busy with something else hits none more than others.
    """
    statements = {name: _statements(client, path + query) for name, query in pages.items()}
    times: dict[str, list[float]] = {name: [] for name in pages}
    floors: dict[str, list[float]] = {name: [] for name in pages}
    for turn in range(WARM_UP + REPEATS):
        for name, query in pages.items():
            took = milliseconds(get, client, path + query)
            bare = milliseconds(_replay, statements[name])
            if turn >= WARM_UP:
                times[name].append(took)
                floors[name].append(bare)
    notes = [
        f"{name}: {statistics.median(times[name]):.1f} ms, "
        f"of which SQL {statistics.median(floors[name]):.1f} ms in {len(statements[name])} queries"
        for name in pages
    ]
    worst = max(pages, key=lambda name: statistics.median(times[name]))
    return Measurement(times[worst], floors[worst], notes)


def milliseconds(call: Callable[..., None], *arguments: Any) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call(*arguments)
    return (time.perf_counter() - began) * 1000


def get(client: Any, address: str) -> None:
    """One request as the server handles it, with a connection from the pool and back."""
    from django.db import close_old_connections

    answer = client.get(address)
    if answer.status_code != 200 or not answer.content:
        raise RuntimeError(f"{address} answered {answer.status_code}")
    close_old_connections()


def _statements(client: Any, address: str) -> list[tuple[str, Any]]:
    """What a page asks of the database."""
    from django.db import connection

    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters, many, context)

    get(client, address)
    with connection.execute_wrapper(note):
        client.get(address)
    return statements


def _replay(statements: list[tuple[str, Any]]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for sql, parameters in statements:
            cursor.execute(sql, parameters)
            if cursor.description:
                cursor.fetchall()
