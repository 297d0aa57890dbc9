"""Where the deaths are died: a real LOCAL cloud with a workspace and a cluster in the database, and whoever comes
after the dead: a scheduler and a worker, which know nothing but the database and the cloud."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.utils import timezone

from accounts.models import AuditEvent
from clusters import reconcile as cluster_reconcile
from clusters import services as clusters
from clusters.models import Cluster
from jobs import reconcile, services
from jobs.models import Run
from jobs.spec import JobSpec, NewCluster
from portal import reconcile as engine
from portal import tasks
from portal.clouds.base import Exit, Handle
from portal.clouds.local import processes
from portal.clouds.local.provider import LocalCloud
from portal.models import DeploymentEvent
from tests.clouds.local_world import processes_of, wait_for
from tests.factories import actor, make_configuration, make_organization, make_workspace
from workspaces.models import Workspace, WorkspaceStatus

CAPACITY = 4

PROGRAM = """
import os, sys, time
open(os.path.join(os.environ["PORTAL_BODOFS"], "executed-" + os.environ["PORTAL_RUN"]), "a").write("x")
print("going", flush=True)
first = not os.environ["PORTAL_RUN"].endswith("-2")
while "wait" in sys.argv or (first and "wait once" in sys.argv): time.sleep(0.01)
sys.exit(3 if first and "fail once" in sys.argv else 0)
"""
"""Leaves a mark each time it is executed, and ends at once, or never; "once" is for the first attempt only."""


@dataclass
class Ground:
    """The workspace and its cloud. ``sent`` is the queue, which is emptied at every death."""

    cloud: LocalCloud
    workspace: Workspace
    sent: list[tuple[str, str]] = field(default_factory=list)

    # --- what people do ---

    def deploy(self) -> None:
        """Bring the workspace up, with the program in it."""
        self.go_on(lambda: self.status_of(self.workspace) == "READY")
        (self.bodofs / "program.py").write_text(PROGRAM)

    def new_cluster(self, instances: int = 1) -> Cluster:
        """One that runs."""
        cluster = clusters.create_cluster(
            actor=actor(),
            workspace=self.workspace,
            name=f"c {uuid.uuid4().hex[:8]}",
            instance_type="local.1x",
            instances=instances,
            release="2026.10",
        )
        self.go_on(lambda: self.status_of(cluster) == "RUNNING")
        return cluster

    def submit(self, place: Cluster | NewCluster, *arguments: str, **fields: Any) -> Run:
        """A run of ``PROGRAM``."""
        spec = JobSpec(**{"file": "program.py", "arguments": list(arguments), **fields})
        return services.submit_run(actor=actor(), workspace=self.workspace, name="r", spec=spec, place=place)

    def cancel(self, run: Run) -> None:
        services.cancel_run(actor=actor(), run=run)

    # --- what workers and schedulers do ---

    def send(self, name: str, pk: object) -> None:
        """In the place of ``portal.queue.send``."""
        self.sent.append((name, str(pk)))

    def work(self, row: Any) -> None:
        """A worker takes the nudge of one row."""
        tasks.reconcile(row._meta.model_name, str(row.pk))

    def time_passes(self) -> None:
        """All leases run out, and whoever waits has waited long enough. What the agents were asked for before, they
        have done: they have a third of a lease for it."""
        now = timezone.now()
        for machine in engine._machines.values():
            rows = machine.model._default_manager.filter(due_at__isnull=False)
            rows.filter(lease_until__isnull=False).update(lease_until=now)
            rows.filter(due_at__gt=now).update(due_at=now)
        for node in self.cloud.root.glob("workspaces/*/clusters/*/node-*"):
            with contextlib.suppress(OSError):
                processes.ask(node, {"do": "ping"}, seconds=5)

    def go_on(self, until: Callable[[], bool]) -> None:
        """Those who come after: a scheduler and a worker, until it is so."""
        self.sent.clear()

        def once() -> bool:
            self.time_passes()
            reconcile.poll_runs()
            cluster_reconcile.observe()
            engine.sweep()
            jobs, self.sent[:] = dict.fromkeys(self.sent), []
            for name, pk in jobs:
                engine.run(name, pk)
            return until()

        wait_for(once)

    def end(self, run: Run) -> Run:
        """Go on until the run has ended, and everything about it."""

        def settled() -> bool:
            run.refresh_from_db()
            return run.ended and run.due_at is None

        self.go_on(settled)
        return run

    # --- what is there ---

    @property
    def bodofs(self) -> Path:
        return self.cloud.root / "workspaces" / str(self.workspace.pk) / "bodofs"

    def status_of(self, row: Any) -> str:
        row.refresh_from_db()
        return str(row.status)

    def handle_of(self, run: Run) -> Handle:
        """That of its cluster."""
        handle: Handle = Cluster.objects.get(pk=run.cluster_id).handle
        return handle

    def executions(self, process_id: object) -> int:
        """How often the program was executed for an attempt."""
        path = self.bodofs / f"executed-{process_id}"
        return len(path.read_text()) if path.exists() else 0

    def exit_of(self, run: Run) -> Exit | None:
        """How the run's newest process ended, as the cloud sees it."""
        ref = self.cloud.find(self.handle_of(run), run.process_id)
        return self.cloud.poll([ref])[0] if ref else None

    def jobs(self) -> list[int]:
        """All processes of the cloud but its agents and supervisors."""
        found = []
        for pid in processes_of(self.cloud.root):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if b"PORTAL_AGENT=" not in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return found


def check_end(ground: Ground, run: Run, status: str, *, attempts: int = 1, executions: int = 1) -> None:
    """What must be true of every run that has ended, however many died on its way."""
    run.refresh_from_db()
    assert (run.status, run.due_at, run.lease_token, run.attempt) == (status, None, None, attempts)
    assert run.ended_at is not None
    ids = [str(run.pk), *(f"{run.pk}-{number}" for number in range(2, attempts + 1))]
    assert [ground.executions(each) for each in ids] == [executions] * attempts
    assert ground.jobs() == []
    cluster = Cluster.objects.get(pk=run.cluster_id)
    assert cluster.busy_with is None
    rows = list(run.attempt_rows.order_by("number"))
    if executions:
        assert [row.number for row in rows] == list(range(1, attempts + 1))
        assert rows[-1].status == status
    assert all(row.ended_at and row.status != "RUNNING" for row in rows), "an open one would go on costing money"
    started = [line.message for line in DeploymentEvent.objects.of(run.pk) if line.step == "start"]
    assert len(started) == len({*started}) <= attempts
    verbs = list(AuditEvent.objects.filter(object_id=str(run.pk)).values_list("verb", flat=True))
    assert verbs.count("run.submit") == 1
    assert len(verbs) == len({*verbs})


def make_ground(directory: Path, machine_root: Path, python: str) -> Ground:
    """A READY workspace on a LOCAL cloud below a directory."""
    factor = CAPACITY / len(os.sched_getaffinity(0))
    cloud = LocalCloud(directory / "configuration", machine_root, factor, python)
    organization = make_organization()
    configuration = make_configuration(organization, cloud.root)
    place = make_workspace(organization, configuration, status=WorkspaceStatus.NEW, due_at=timezone.now())
    return Ground(cloud, place)


def leave_nothing(directory: Path) -> None:
    """End what is left of a cloud."""
    for pid in processes_of(directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    wait_for(lambda: not processes_of(directory))
