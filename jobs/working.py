"""Which run has a cluster, as the apps below and above tell it."""

from __future__ import annotations

from django.urls import reverse

from clusters.lifetimes import Work
from clusters.models import Cluster
from jobs.models import Run


def work_on(cluster: Cluster) -> Work | None:
    """The run that has the cluster to itself now."""
    run = Run.objects.select_related("requested_by").filter(pk=cluster.busy_with).first() if cluster.busy_with else None
    if run is None:
        return None
    return Work(run.name, reverse("jobs:detail", args=[run.workspace_id, run.pk]), run.requested_by)
