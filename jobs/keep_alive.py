"""The runs that keep clusters from being paused: the one that has the cluster, and those that wait for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from django.db.models import Count, Q
from django.urls import reverse
from django.utils import timezone

from clusters.idleness import Signal
from clusters.models import Cluster
from jobs.models import Run, RunStatus


def signals_of(clusters: Collection[Cluster]) -> dict[UUID, list[Signal]]:
    """What of the clusters' runs keeps them alive, by the clusters' keys. At most two queries.

    A run that waits for the time of its next attempt does not, if it may resume the cluster then.
    """
    found: dict[UUID, list[Signal]] = defaultdict(list)
    workspaces = {cluster.pk: cluster.workspace_id for cluster in clusters}
    holders = {cluster.busy_with: cluster for cluster in clusters if cluster.busy_with}
    names = dict(Run.objects.filter(pk__in=holders).values_list("pk", "name")) if holders else {}
    for run, cluster in holders.items():
        if run in names:
            found[cluster.pk].append(Signal(f"the run {names[run]}", _page(cluster.workspace_id, run)))
    now = Q(not_before=None) | Q(not_before__lte=timezone.now()) | Q(auto_resume=False)
    waiting = Run.objects.filter(now, cluster__in=workspaces, status=RunStatus.PENDING)
    queues = waiting.exclude(pk__in=holders).order_by().values_list("cluster_id").annotate(count=Count("pk"))
    for cluster_id, count in queues:
        found[cluster_id].append(_queue(workspaces[cluster_id], cluster_id, count))
    return dict(found)


def _queue(workspace: UUID, cluster: UUID, count: int) -> Signal:
    text = f"{count} runs in its queue" if count > 1 else "a run in its queue"
    return Signal(text, f"{reverse('jobs:list', args=[workspace])}?cluster={cluster}")


def _page(workspace: UUID, run: UUID) -> str:
    return reverse("jobs:detail", args=[workspace, run])
