"""The way of a run in a test: submitted, started, ended."""

from __future__ import annotations

from typing import Any

from clusters import services as clusters
from clusters.models import Cluster
from clusters.services import ACTIONS
from jobs import services
from jobs.models import Run
from jobs.spec import JobSpec
from tests.factories import actor
from tests.fakes import Killed, Workers


def submit(cluster: Cluster, **fields: Any) -> Run:
    name = fields.pop("name", "r")
    spec = JobSpec(**{"file": "job.py", "arguments": ["--n", "1"], **fields})
    return services.submit_run(actor=actor(), workspace=cluster.workspace, name=name, spec=spec, place=cluster)


def act(cluster: Cluster, name: str) -> None:
    clusters.act(actor=actor(), cluster=cluster, action=ACTIONS[name])


def now_is(row: Any) -> tuple[str, str]:
    row.refresh_from_db()
    return row.status, row.get_reason_display() if isinstance(row, Run) else row.failure_code


def started(cluster: Cluster, workers: Workers, **fields: Any) -> Run:
    run = submit(cluster, **fields)
    workers.work(seconds=1)
    assert now_is(run) == ("RUNNING", "")
    return run


def cancel(run: Run) -> None:
    services.cancel_run(actor=actor(), run=run)


def survive(workers: Workers, seconds: float) -> None:
    """Go on however often a worker is killed: its lease runs out, the queue is emptied, another one takes over."""
    while True:
        try:
            workers.work(seconds=seconds)
            return
        except Killed:
            workers.sent.clear()
            workers.clock.move(seconds=31)
