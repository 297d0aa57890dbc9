"""How a run is made true: bring its code, claim the cluster, start the process once, find its exit, try again where
that was asked for, give the cluster back.

claimed, not started → looked for, not found, and started
started, not saved   → found by its id, whatever became of the cluster, and taken over
ended, not saved     → the exit is found again
cluster gone         → the process is LOST, and the cluster's own state says why
ended, to be retried → PENDING again, with the next attempt's process id
ended for good       → in the same transaction the cluster is given back, and paused or removed where that was asked for
"""

from __future__ import annotations

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
from clusters.models import Cluster, ClusterStatus
from clusters.services import ACTIONS
from jobs import exits, reading, services
from jobs.environment import environment_of, seal_secrets
from jobs.models import TRANSITIONS, Run, RunAttempt, RunReason, RunStatus, RunTarget
from jobs.prepare import discard, is_fetched, prepare
from jobs.spec import CodeType
from portal import events, queue
from portal.clouds.base import (
    Cloud,
    CloudError,
    Event,
    Exit,
    ExitReason,
    Level,
    Pending,
    Ref,
    Settled,
    Step,
    Target,
)
from portal.errors import UserError
from portal.models import record_event
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration
from workspaces.offers import types_of

logger = logging.getLogger(__name__)
S = RunStatus
FETCH_LOOK = 0.5
"""Seconds between two looks at a source that is being fetched."""

FIND_AGAIN = 30.0
"""Seconds between two tries to learn whether a process was started."""

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
            return self._cancel(row, cloud) if row.target == RunTarget.CANCELLED else self._start(row, cloud)
        if exit_ := row.handle.get("exit"):
            return Step({**row.handle, "exit": _explained(row, cloud, exit_)}, Settled())
        found = cloud.poll([row.handle])[0]
        if found is None and row.target == RunTarget.CANCELLED:
            cloud.stop(row.cluster.handle, row.handle)
        if found is None:
            return Step(row.handle, Pending(LOOK_AGAIN))
        return Step({**row.handle, "exit": _explained(row, cloud, exits.as_json(found))}, Settled())

    def _cancel(self, row: Run, cloud: Cloud) -> Step:
        """One that waits. If it has a process already, that is ended."""
        return self._adopt(row, cloud) or Step(row.handle, Settled())

    def _adopt(self, row: Run, cloud: Cloud) -> Step | None:
        """The process of one that has the cluster: a worker may have started it and died before it said so. It is ours
        whatever became of the cluster since. None if there is none."""
        if row.cluster.busy_with != row.pk:
            return None
        try:
            ref = cloud.find(row.cluster.handle, row.process_id)
        except CloudError as error:  # while nobody can say, it keeps the cluster: another run would be the second there
            return Step(row.handle, Pending(FIND_AGAIN), [Event("find", error.message, Level.ERROR)])
        if ref is None:
            return None
        return _begun(row, ref, row.handle.get("claim") or _claim(row, row.cluster, 0, {}), look=0)

    def _start(self, row: Run, cloud: Cloud) -> Step:
        adopted = self._adopt(row, cloud)
        if adopted is not None:
            return adopted
        now = timezone.now()
        if row.not_before and row.not_before > now:
            return Step(row.handle, Pending((row.not_before - now).total_seconds()))
        first = Run.objects.queued_on(row.cluster_id).first()
        if first is None or first.pk != row.pk:
            # Of a dead worker; an older one, due again, would wait for ever.
            clusters.release(row.cluster_id, row.pk, row.name)
            return self._wait(row)
        mine = row.cluster.free or row.cluster.busy_with == row.pk
        if not mine and not is_fetched(row):
            return self._wait(row)
        environment = environment_of(row)
        prepared = prepare(row, cloud, environment)
        if prepared is None:
            return Step({**row.handle, "fetching": True}, Pending(FETCH_LOOK, trying=True))
        source = {"commit": prepared.commit, "digest": prepared.digest}
        if is_fetched(row) and row.handle.get("source") != source:
            # Known before the start, so that after a crash in between we still say what it is that runs.
            event = Event("source", f"Fetched {prepared.commit[:12] or prepared.digest[:12]}")
            return Step({"source": source}, Pending(0), [event])
        place = row.cluster.workspace
        kinds = {kind.name: kind.cores for kind in types_of(place.cloud_configuration, place.region)}
        with transaction.atomic():
            first = Run.objects.queued_on(row.cluster_id).first()
            mine = first is not None and first.pk == row.pk
            cluster = clusters.claim(row.cluster_id, row.pk, row.name, row.requested_by_id) if mine else None
            if cluster is not None:  # on record before the start: whoever finds the process can say what it is
                workers = kinds.get(cluster.instance_type, 0) * cluster.deployed_instances
                claim = _claim(row, cluster, workers, source, environment)
                Run.objects.filter(pk=row.pk, lease_token=row.lease_token).update(handle={**row.handle, "claim": claim})
        if cluster is None:
            return self._wait(row)
        if cluster.status != ClusterStatus.RUNNING:
            clusters.release(row.cluster_id, row.pk, row.name)
            return self._wait(row)
        if not workers:
            message = f"The cloud no longer offers {cluster.instance_type}."
            raise CloudError("InstanceTypeUnknown", message, "Stop the cluster and choose another.", permanent=True)
        ref = cloud.start(cluster.handle, prepared.process(row, environment=environment, workers=workers))
        return _begun(row, ref, claim, look=LOOK_AGAIN)

    def _wait(self, row: Run) -> Step:
        cluster = Cluster.objects.get(pk=row.cluster_id)
        gone = cluster.target in {Target.STOPPED, Target.TERMINATED}
        if self._renew(row, cluster):
            return Step({**row.handle, "renewed": row.attempt}, Pending(LOOK_AGAIN))
        failed = cluster.status == ClusterStatus.FAILED and bool(cluster.failure_code)  # else it is being made anew
        if gone or failed or cluster.status in {ClusterStatus.STOPPED, ClusterStatus.TERMINATED}:
            why = cluster.failure_message or f"It is {cluster.status}."
            raise CloudError("ClusterNotAvailable", f"{cluster.name} is not available. {why}", permanent=True)
        if cluster.status == ClusterStatus.PAUSED and cluster.target == Target.PAUSED:
            if not row.auto_resume:
                raise CloudError("ClusterNotAvailable", f"{cluster.name} is paused.", permanent=True)
            refused = self._ask(cluster, "resume", f"run {row.name}")
            if refused and refused.code != "NotNow":  # which is over soon
                message = f"{cluster.name} is paused. {refused.message}"
                raise CloudError("ClusterNotAvailable", message, refused.hint, permanent=True)
        return Step(row.handle, Pending(LOOK_AGAIN))

    def _renew(self, row: Run, cluster: Cluster) -> bool:
        """A cluster of its own that lost a machine gets new ones for the next attempt, once for each."""
        again = row.attempt > 1 and row.handle.get("renewed") != row.attempt
        if not (again and cluster.dedicated_to == row.pk and cluster.status == ClusterStatus.FAILED):
            return False
        return self._ask(cluster, "resume", f"run {row.name}") is None

    def _ask(self, cluster: Cluster, action: str, reason: str) -> UserError | None:
        """Ask something of a cluster in the name of the system, and return why it cannot be had."""
        try:
            with transaction.atomic():
                clusters.act(actor=audit.system(reason), cluster=cluster, action=ACTIONS[action])
        except UserError as error:
            return error
        return None

    def apply(self, row: Run, step: Step) -> None:
        """Statuses by what was found."""
        if row.status == S.PENDING:
            if isinstance(step.outcome, Settled):
                self._end(row, S.CANCELLED, RunReason.CANCELLED)
            elif "workers" in step.handle:
                self._started(row)
            elif row.not_before and row.not_before > timezone.now():
                set_status(row, S.PENDING, RunReason.RETRYING)
            elif row.handle.get("fetching"):
                set_status(row, S.PENDING, RunReason.FETCHING)
            else:
                busy = Cluster.objects.filter(pk=row.cluster_id, status=ClusterStatus.RUNNING).exists()
                set_status(row, S.PENDING, RunReason.QUEUED if busy else RunReason.WAITING)
        elif row.handle.get("exit"):
            self._settle(row, row.handle["exit"])
        else:
            row.progress_message = ""
            if row.target == RunTarget.CANCELLED:
                set_status(row, S.CANCELLING, RunReason.CANCELLED)

    def _started(self, row: Run) -> None:
        now = timezone.now()
        row.workers = row.handle["workers"]
        row.instances, row.instance_type = row.handle["instances"], row.handle["instance_type"]
        row.started_at = row.started_at or now
        row.not_before = None
        sealed = row.handle.pop("sealed")
        set_status(row, S.RUNNING)
        RunAttempt.objects.update_or_create(
            run=row,
            number=row.attempt,
            defaults={
                "handle": row.handle,
                "workers": row.workers,
                "secrets": sealed,
                "started_at": now,
                **row.handle.get("source", {}),
            },
        )
        transaction.on_commit(lambda: discard(row))

    def _settle(self, row: Run, exit_: dict[str, Any]) -> None:
        row.exit_code = exit_["code"]
        began = datetime.fromisoformat(exit_["started"]) if exit_["started"] else None
        if row.attempt == 1:
            row.started_at = began or row.started_at
        ended_at = datetime.fromisoformat(exit_["ended"])
        status, reason = exits.meaning(row, exit_)
        RunAttempt.objects.filter(run=row, number=row.attempt).update(
            status=status,
            reason=reason,
            exit_code=row.exit_code,
            detail=exit_.get("detail", "")[:500],
            ended_at=ended_at,
            **({"started_at": began} if began else {}),
        )
        if self._worth_another(row, status, reason):
            self._try_again(row, ended_at)
        else:
            row.ended_at = ended_at
            row.detail = exit_.get("detail", "")[:500]
            self._end(row, status, reason)

    def _worth_another(self, row: Run, status: str, reason: str) -> bool:
        """Whether another attempt was asked for, is left, and could end otherwise."""
        if row.target == RunTarget.CANCELLED or row.attempt > row.retries:
            return False
        if status == S.TIMEOUT:
            return row.retry_on_timeout
        if reason == RunReason.NODE_LOST:
            return row.cluster.dedicated_to == row.pk
        return status == S.FAILED

    def _try_again(self, row: Run, ended_at: datetime) -> None:
        """Back into the queue, where it keeps its place; until its delay has passed, others go first."""
        row.attempt += 1
        row.handle = {}
        row.not_before = ended_at + timedelta(minutes=row.retry_delay_minutes)
        row.due_at = max(timezone.now(), row.not_before)
        set_status(row, S.PENDING, RunReason.RETRYING)
        record_event(row.pk, Event("retry", f"Attempt {row.attempt} of {row.retries + 1} follows"))
        clusters.release(row.cluster_id, row.pk, row.name)
        transaction.on_commit(lambda: services.wake_next(row.cluster_id))

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
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
        self._end(row, S.FAILED, _NOT_STARTED.get(error.code, RunReason.START_FAILED))

    def _end(self, row: Run, status: str, reason: str = "") -> None:
        if row.status == S.PENDING:
            clusters.used(row.cluster, row.pk, row.name)  # for which it waited until now
        set_status(row, status, reason)
        row.due_at = None
        row.progress_message = ""
        clusters.release(row.cluster_id, row.pk, row.name)
        if row.cluster.dedicated_to == row.pk:
            self._ask(row.cluster, "delete", f"end of run {row.name}")
        elif row.pause_on_finish and row.started_at and not Run.objects.queued_on(row.cluster_id).exclude(pk=row.pk):
            self._ask(row.cluster, "pause", f"end of run {row.name}")
        transaction.on_commit(lambda: discard(row))
        transaction.on_commit(lambda: services.wake_next(row.cluster_id))

    def saved(self, row: Run) -> None:
        """Tell the workspace's pages."""
        events.notify(row.workspace_id, f"run-{row.pk}")


_NOT_STARTED = {
    "ClusterNotAvailable": RunReason.CLUSTER_NOT_AVAILABLE,
    "SourceFailed": RunReason.SOURCE_FAILED,
}


def _explained(row: Run, cloud: Cloud, exit_: dict[str, Any]) -> dict[str, Any]:
    """An exit with what a program of ours said: it knows which cell failed, or what is wrong with a query."""
    ours = row.code_type != CodeType.PYTHON and exit_["reason"] == ExitReason.EXITED and exit_["code"]
    said = reading.failure(cloud, row) if ours else ""
    return {**exit_, "detail": said} if said else exit_


def _claim(
    row: Run, cluster: Cluster, workers: int, source: dict[str, str], environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """What an attempt has, for its record; in the handle until the attempt's row is made."""
    return {
        "workers": workers,
        "instances": cluster.deployed_instances,
        "instance_type": cluster.instance_type,
        "source": source,
        "sealed": seal_secrets(row, environment),
    }


def _begun(row: Run, ref: Ref, claim: dict[str, Any], *, look: float) -> Step:
    """It has a process, at which to look in so many seconds."""
    workers = claim["workers"]
    attempt = f"Attempt {row.attempt} started" if row.attempt > 1 else "Started"
    message = f"{attempt} on {workers} worker{'s' if workers != 1 else ''} of {row.cluster.name}"
    return Step({**ref, **claim}, Pending(look), [Event("start", message)])


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
        handle={**run.handle, "exit": exits.as_json(found)}, due_at=now
    )
    if noted:
        queue.send("run", run.pk)
    return bool(noted)


def cluster_settled(cluster: Cluster) -> None:
    """The hook by which the clusters app wakes the queue; after the commit, because runs are locked before clusters."""
    cluster_id = cluster.pk
    transaction.on_commit(lambda: services.wake_queue(cluster_id))
