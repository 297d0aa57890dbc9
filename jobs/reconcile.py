"""How a run is made true: claim the cluster, start the process once, find its exit, give the cluster back.

claimed, not started → started again by the same id, which gives the first start's process
started, not saved   → the same
ended, not saved     → the exit is found again
cluster gone         → the process is LOST, and the cluster's own state says why
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from clusters import services as clusters
from clusters.ledger import RESTART
from clusters.models import Cluster, ClusterStatus, Transition, TransitionKind
from clusters.services import ACTIONS
from jobs import services
from jobs.models import TRANSITIONS, Run, RunReason, RunStatus, RunTarget
from portal import crypto, events, queue
from portal.clouds.base import (
    Cloud,
    CloudError,
    Event,
    Exit,
    ExitReason,
    LaunchMode,
    Pending,
    Process,
    Settled,
    Step,
    Target,
)
from portal.errors import UserError
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration

logger = logging.getLogger(__name__)
S = RunStatus
LOOK_AGAIN = 5.0
"""Seconds until a run looks again by itself; exits are found sooner, by ``poll_runs``."""


def set_status(run: Run, status: str, reason: str = "") -> None:
    """Move along TRANSITIONS; a move that is not in the table is a mistake of ours."""
    run.reason = reason
    if status == run.status:
        return
    if status not in TRANSITIONS[run.status]:
        raise RuntimeError(f"A run does not go from {run.status} to {status}.")
    run.status = status
    if run.ended:
        run.ended_at = run.ended_at or timezone.now()


class RunMachine(Machine[Run]):
    """PENDING → RUNNING → SUCCEEDED, FAILED, TIMEOUT or CANCELLED."""

    name = "run"
    model = Run

    def load(self, pk: str) -> Run | None:
        """The run with its cluster and cloud."""
        return Run.objects.select_related("cluster__workspace__cloud_configuration").filter(pk=pk).first()

    def advance(self, row: Run) -> Step:
        """Start what is first in the queue; end what was cancelled; find the exit of what runs."""
        cloud = cloud_of(row.cluster.workspace.cloud_configuration)
        if row.status == S.PENDING:
            return self._start(row, cloud)
        if row.handle.get("exit"):
            return Step(row.handle, Settled())
        found = cloud.poll([row.handle])[0]
        if found is None and row.target == RunTarget.CANCELLED:
            cloud.stop(row.cluster.handle, row.handle)
        if found is None:
            return Step(row.handle, Pending(LOOK_AGAIN))
        return Step({**row.handle, "exit": _exit_as_json(found)}, Settled())

    def _start(self, row: Run, cloud: Cloud) -> Step:
        if row.target == RunTarget.CANCELLED and row.cluster.busy_with != row.pk:
            return Step(row.handle, Settled())
        # One that is cancelled but has the cluster may have a process whose start was not recorded: find it, to end it.
        with transaction.atomic():
            first = Run.objects.queued_on(row.cluster_id).first()
            cluster = clusters.claim(row.cluster_id, row.pk) if first is not None and first.pk == row.pk else None
        if cluster is None:
            return self._wait(row)
        if cluster.status != ClusterStatus.RUNNING:
            clusters.release(row.cluster_id, row.pk)
            return Step(row.handle, Settled()) if row.target == RunTarget.CANCELLED else self._wait(row)
        kinds = cloud.instance_types(row.cluster.workspace.region)
        cores = next((kind.cores for kind in kinds if kind.name == cluster.instance_type), 0)
        if not cores:
            message = f"The cloud no longer offers {cluster.instance_type}."
            raise CloudError("InstanceTypeUnknown", message, "Stop the cluster and choose another.", permanent=True)
        workers = cores * cluster.deployed_instances
        process = Process(
            id=str(row.pk),
            file=row.file,
            arguments=row.arguments,
            environment=crypto.unseal(row.environment),
            mode=LaunchMode(row.mode),
            workers=workers,
            timeout=row.timeout_minutes * 60.0,
        )
        ref = cloud.start(cluster.handle, process)
        message = f"Started on {workers} worker{'s' if workers != 1 else ''} of {cluster.name}"
        return Step({**ref, "workers": workers}, Pending(LOOK_AGAIN), [Event("start", message)])

    def _wait(self, row: Run) -> Step:
        cluster = Cluster.objects.get(pk=row.cluster_id)
        gone = cluster.target in {Target.STOPPED, Target.TERMINATED}
        if gone or cluster.status in {ClusterStatus.FAILED, ClusterStatus.STOPPED, ClusterStatus.TERMINATED}:
            why = cluster.failure_message or f"It is {cluster.status}."
            raise CloudError("ClusterNotAvailable", f"{cluster.name} is not available. {why}", permanent=True)
        if cluster.status == ClusterStatus.PAUSED and cluster.target == Target.PAUSED:
            if not row.auto_resume:
                raise CloudError("ClusterNotAvailable", f"{cluster.name} is paused.", permanent=True)
            with contextlib.suppress(UserError):  # somebody else did
                clusters.act(actor=audit.system(f"run {row.name}"), cluster=cluster, action=ACTIONS["resume"])
        return Step(row.handle, Pending(LOOK_AGAIN))

    def apply(self, row: Run, step: Step) -> None:
        """Statuses by what was found."""
        if row.status == S.PENDING:
            if isinstance(step.outcome, Settled):
                self._end(row, S.CANCELLED, RunReason.CANCELLED)
            elif "workers" in step.handle:
                row.workers = step.handle["workers"]
                row.started_at = timezone.now()
                set_status(row, S.RUNNING)
            else:
                busy = Cluster.objects.filter(pk=row.cluster_id, status=ClusterStatus.RUNNING).exists()
                set_status(row, S.PENDING, RunReason.QUEUED if busy else RunReason.WAITING)
        elif row.handle.get("exit"):
            self._settle(row, row.handle["exit"])
        else:
            row.progress_message = ""
            if row.target == RunTarget.CANCELLED:
                set_status(row, S.CANCELLING, RunReason.CANCELLED)

    def _settle(self, row: Run, exit_: dict[str, Any]) -> None:
        row.exit_code = exit_["code"]
        row.started_at = datetime.fromisoformat(exit_["started"]) if exit_["started"] else row.started_at
        row.ended_at = datetime.fromisoformat(exit_["ended"])
        match ExitReason(exit_["reason"]):
            case ExitReason.EXITED if row.exit_code == 0:
                self._end(row, S.SUCCEEDED)
            case ExitReason.EXITED:
                self._end(row, S.FAILED, RunReason.NON_ZERO_EXIT)
            case ExitReason.SIGNALLED:
                self._end(row, S.FAILED, RunReason.SIGNALLED)
            case ExitReason.TIMEOUT:
                self._end(row, S.TIMEOUT, RunReason.TIMEOUT)
            case ExitReason.CANCELLED:
                self._end(row, S.CANCELLED, RunReason.CANCELLED)
            case ExitReason.OUT_OF_MEMORY:
                self._end(row, S.FAILED, RunReason.OUT_OF_MEMORY)
            case ExitReason.LOST:
                self._end(row, *_why_lost(row))

    def fail(self, row: Run, error: CloudError) -> None:
        """It could not be started. One that has a process keeps its cluster for as long as its exit cannot be had: what
        we cannot see goes on, and the next run would be the second there."""
        if row.status != S.PENDING:
            row.due_at = timezone.now() + timedelta(seconds=30)
            row.progress_message = f"{error.message} Looking again every 30 seconds."[:500]
            return
        if row.target == RunTarget.CANCELLED:
            self._end(row, S.CANCELLED, RunReason.CANCELLED)
            return
        unavailable = error.code == "ClusterNotAvailable"
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
        self._end(row, S.FAILED, RunReason.CLUSTER_NOT_AVAILABLE if unavailable else RunReason.START_FAILED)

    def _end(self, row: Run, status: str, reason: str = "") -> None:
        set_status(row, status, reason)
        row.due_at = None
        row.progress_message = ""
        clusters.release(row.cluster_id, row.pk)
        transaction.on_commit(lambda: services.wake_next(row.cluster_id))

    def saved(self, row: Run) -> None:
        """Tell the workspace's pages."""
        events.notify(row.workspace_id, f"run-{row.pk}")


_REASONS_OF_LOSS = {
    Target.PAUSED: RunReason.CLUSTER_PAUSED,
    Target.STOPPED: RunReason.CLUSTER_STOPPED,
    Target.TERMINATED: RunReason.CLUSTER_DELETED,
    RESTART: RunReason.CLUSTER_RESTARTED,
}


def _why_lost(row: Run) -> tuple[RunStatus, RunReason]:
    """A process that vanished with its machines: what happened to the cluster first since it started says why, also
    where the cluster has gone on since."""
    since = Q(at__gte=row.started_at) if row.started_at else Q()
    for line in Transition.objects.filter(since, cluster_id=row.cluster_id).order_by("seq"):
        if line.kind == TransitionKind.REQUEST and line.status in _REASONS_OF_LOSS:
            return S.CANCELLED, _REASONS_OF_LOSS[line.status]
        if line.status == ClusterStatus.FAILED:
            break
    return S.FAILED, RunReason.NODE_LOST


def _exit_as_json(found: Exit) -> dict[str, Any]:
    return {
        "reason": found.reason.value,
        "code": found.code,
        "started": found.started.isoformat() if found.started else None,
        "ended": found.ended.isoformat(),
        "signal": found.signal,
    }


def poll_runs() -> int:
    """Ask every cloud for the exits of its runs, with one call per configuration, and return how many were found.

    An exit is put into the run's handle, so that it is found once, unless a worker has the lease: then it looks itself.
    """
    by_configuration: dict[UUID, list[Run]] = defaultdict(list)
    running = Run.objects.active().exclude(handle__has_key="exit").select_related("workspace")
    for run in running.only("id", "handle", "workspace__cloud_configuration"):
        by_configuration[run.workspace.cloud_configuration_id].append(run)
    ended = 0
    for configuration in CloudConfiguration.objects.filter(pk__in=by_configuration):
        runs = by_configuration[configuration.pk]
        try:
            exits = cloud_of(configuration).poll([run.handle for run in runs])
        except CloudError as error:  # one account that does not answer must not hold up the others
            logger.warning("The runs of %s could not be polled: %s", configuration.pk, error)
            continue
        for run, found in zip(runs, exits, strict=True):
            ended += found is not None and _note_exit(run, found)
    return ended


def _note_exit(run: Run, found: Exit) -> bool:
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    noted = Run.objects.filter(free, pk=run.pk, due_at__isnull=False, handle=run.handle).update(
        handle={**run.handle, "exit": _exit_as_json(found)}, due_at=now
    )
    if noted:
        queue.send("run", run.pk)
    return bool(noted)


def cluster_settled(cluster: Cluster) -> None:
    """The hook by which the clusters app wakes the queue; after the commit, because runs are locked before clusters."""
    cluster_id = cluster.pk
    transaction.on_commit(lambda: services.wake_queue(cluster_id))
