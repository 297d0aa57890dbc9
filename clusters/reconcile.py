"""How a cluster is made true, and how the platform notices that it no longer is."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from clusters import ledger
from clusters.models import TRANSITIONS, Cluster, ClusterStatus
from portal import events, queue
from portal.clouds.base import CloudError, Event, Handle, Level, Node, Observation, Pending, Settled, Step, Target
from portal.models import record_event
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration

logger = logging.getLogger(__name__)
S = ClusterStatus
UNDER_WAY: dict[str, ClusterStatus] = {
    Target.PAUSED: S.PAUSING,
    Target.STOPPED: S.STOPPING,
    Target.TERMINATED: S.TERMINATING,
}
AT_REST = frozenset(ClusterStatus) - {S.INPROGRESS, S.INITIALIZING, S.RUNNING}
REACHED: dict[str, ClusterStatus] = {
    Target.RUNNING: S.RUNNING,
    Target.PAUSED: S.PAUSED,
    Target.STOPPED: S.STOPPED,
    Target.TERMINATED: S.TERMINATED,
}


def set_status(cluster: Cluster, status: str) -> None:
    """Move along TRANSITIONS, with a line in the ledger; a move that is not in the table is a mistake of ours."""
    if status == cluster.status:
        return
    if status not in TRANSITIONS[cluster.status]:
        raise RuntimeError(f"A cluster does not go from {cluster.status} to {status}.")
    cluster.status = status
    cluster.status_at = timezone.now()
    if status in AT_REST:
        cluster.running_since = None
    elif status == S.RUNNING:
        cluster.running_since = cluster.running_since or cluster.status_at  # a restart does not begin anew
    ledger.reached(cluster)


def effective_target(cluster: Cluster) -> Target:
    """What the machines should be made to: a cluster that failed costs nothing while somebody thinks about it."""
    target = Target(cluster.target)
    return Target.STOPPED if cluster.failure_code and target is not Target.TERMINATED else target


def _scaling(cluster: Cluster) -> bool:
    return (
        cluster.status == S.RUNNING
        and cluster.target == Target.RUNNING
        and cluster.generation == cluster.deployed_generation
    )


class ClusterMachine(Machine[Cluster]):
    """NEW → INPROGRESS → INITIALIZING → RUNNING, and what people ask for from there."""

    name = "cluster"
    model = Cluster

    def load(self, pk: str) -> Cluster | None:
        """The cluster with all that its cloud needs."""
        return (
            Cluster.objects.select_related("workspace__cloud_configuration", "workspace__network", "instance_role")
            .filter(pk=pk)
            .first()
        )

    def advance(self, row: Cluster) -> Step:
        """One step of the deployment. A change of size waits for the end of the run that has the cluster."""
        if _scaling(row) and row.busy_with and not row.failure_code:
            return Step(row.handle, Pending(5))
        cloud = cloud_of(row.workspace.cloud_configuration)
        return cloud.advance_cluster(row.spec(), row.handle, effective_target(row))

    def apply(self, row: Cluster, step: Step) -> None:
        """Statuses by the target."""
        if row.failure_code and row.target != Target.TERMINATED:
            if isinstance(step.outcome, Settled):
                row.deployed_instances, row.nodes = 0, []
                row.progress_message, row.progress = "", None
            return
        if row.target == Target.RUNNING:
            self._apply_running(row, step)
            return
        row.deployed_instances = 0
        match step.outcome:
            case Settled():
                if row.status != REACHED[row.target]:
                    set_status(row, UNDER_WAY[row.target])
                    set_status(row, REACHED[row.target])
                row.nodes = []
                row.progress_message, row.progress = "", None
            case _ if row.status != REACHED[row.target]:
                set_status(row, UNDER_WAY[row.target])

    def _apply_running(self, row: Cluster, step: Step) -> None:
        scaling = _scaling(row)
        match step.outcome:
            case Pending(initializing=True) if not scaling:
                set_status(row, S.INPROGRESS) if row.status != S.INITIALIZING else None
                set_status(row, S.INITIALIZING)
            case Pending() if not scaling and row.status != S.INITIALIZING:
                row.deployed_instances = 0
                set_status(row, S.INPROGRESS)
            case Settled():
                row.deployed_instances, row.deployed_generation = row.instances, row.generation
                row.progress_message, row.progress = "", None
                row.last_activity_at = timezone.now()
                if scaling:
                    ledger.scaled(row)
                else:
                    set_status(row, S.INPROGRESS) if row.status not in {S.INPROGRESS, S.INITIALIZING} else None
                    set_status(row, S.RUNNING)

    def fail(self, row: Cluster, error: CloudError) -> None:
        """A failed change of size leaves the cluster as it was; any other failure removes the machines, so that nothing
        goes on costing money."""
        if _scaling(row) and row.instances > row.deployed_instances:
            sizes = {"before": {"instances": row.instances}, "after": {"instances": row.deployed_instances}}
            _record(
                audit.system("scaling failed"), "cluster.scale", row, **sizes, code=error.code, reason=error.message
            )
            row.instances = row.deployed_instances
            row.revision += 1
            row.due_at = timezone.now()
            return
        if row.target == Target.TERMINATED or row.failure_code:
            # The removal itself failed. It is tried again for as long as it takes: anything else would leak machines.
            row.due_at = timezone.now() + timedelta(seconds=60)
            row.progress_message = f"{error.message} Trying again every minute."[:500]
            return
        _fail(row, error)
        _record(audit.system("deployment failed"), "cluster.fail", row, code=error.code, reason=error.message)

    def saved(self, row: Cluster) -> None:
        """Tell the workspace's pages, and whoever waits for the cluster to come to rest."""
        events.notify(row.workspace_id, f"cluster-{row.pk}")
        if row.settled:
            for hook in settled_hooks:
                hook(row)


settled_hooks: list[Callable[[Cluster], None]] = []
"""Called inside the transaction when a cluster has come to rest or has failed. The jobs app, which stands above this
one, puts the waking of its queue here."""


def _fail(row: Cluster, error: CloudError) -> None:
    """Inside the transaction, on the locked row: FAILED, and the machines are to be removed."""
    row.deployed_instances = 0
    set_status(row, S.FAILED)
    row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
    row.progress_message, row.progress = "", None
    row.revision += 1
    row.due_at = timezone.now()


def _record(actor: Actor, verb: str, cluster: Cluster, **detail: Any) -> None:
    """The platform takes back what somebody wanted. What merely follows from a wish is in the ledger and in the events
    of the deployment, not in the audit log."""
    workspace = cluster.workspace
    audit.record(actor, verb, cluster, organization=workspace.organization, workspace=workspace.name, **detail)


def observe() -> int:
    """Look at the machines of every cluster that should be running, with one call per configuration.

    Returns how many clusters lost one."""
    by_configuration: dict[UUID, list[Cluster]] = defaultdict(list)
    watched = Cluster.objects.filter(status__in=[S.RUNNING, S.INITIALIZING])
    for cluster in watched.select_related("workspace"):
        by_configuration[cluster.workspace.cloud_configuration_id].append(cluster)
    lost = 0
    for configuration in CloudConfiguration.objects.filter(pk__in=by_configuration):
        clusters = by_configuration[configuration.pk]
        handles: list[Handle] = [cluster.handle for cluster in clusters]
        try:
            observations = cloud_of(configuration).observe_clusters(handles)
        except CloudError as error:  # one account that does not answer must not hide the others
            logger.warning("The clusters of %s could not be observed: %s", configuration.pk, error)
            continue
        for cluster, observation in zip(clusters, observations, strict=True):
            lost += record_observation(cluster, observation)
    return lost


@transaction.atomic
def record_observation(seen: Cluster, observation: Observation) -> bool:
    """Keep what was seen of a cluster; a lost node fails it. True if it was lost by this observation."""
    row = Cluster.objects.select_for_update(of=("self",)).select_related("workspace").get(pk=seen.pk)
    if row.revision != seen.revision or row.handle != seen.handle or row.status != seen.status:
        return False
    nodes = [_node_as_json(node) for node in observation.nodes]
    lost = observation.lost
    if not lost or row.status != S.RUNNING or row.target != Target.RUNNING:
        if nodes != row.nodes:
            row.nodes = nodes
            row.save(update_fields=["nodes"])
            events.notify(row.workspace_id, f"cluster-{row.pk}")
        return False
    names = ", ".join(node.name for node in lost)
    error = CloudError("NodeLost", f"{names} is gone.", "Resume the cluster to get new machines.", permanent=True)
    row.nodes = nodes
    message = f"{names} is gone. The other machines are being removed, so that they cost nothing."
    record_event(row.pk, Event("", message, Level.ERROR))
    _fail(row, error)
    row.save()
    _record(audit.system("node lost"), "cluster.fail", row, code=error.code, nodes=names)
    queue.enqueue("cluster", row.pk)
    events.notify(row.workspace_id, f"cluster-{row.pk}")
    for hook in settled_hooks:
        hook(row)
    return True


def _node_as_json(node: Node) -> dict[str, object]:
    return {**asdict(node), "health": node.health.value, "heartbeat": None}
