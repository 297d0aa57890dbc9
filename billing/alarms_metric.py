"""The metric that alarms watch on LOCAL: the vCPUs of running instances, taken once in each minute.

It counts machines that are there, and not what is charged: a cluster that is still starting or that failed has machines
too, and an alarm is there for what nobody thought of. CloudWatch counts the same way.

Each schedulers' pass takes the minute's sample unless it is there; two that do so at the same time leave one row. A
minute in which no scheduler ran, or in which the machines could not be looked at, has none: a gap.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.models import UsageSample
from clusters.models import Cluster, ClusterStatus
from portal.clouds.base import CloudError, Health, Sample
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration, Provider
from workspaces.offers import types_of

logger = logging.getLogger(__name__)

KEPT = timedelta(days=15)
"""A day more than the longest plot."""

WITHOUT_MACHINES = (ClusterStatus.NEW, ClusterStatus.PAUSED, ClusterStatus.STOPPED, ClusterStatus.TERMINATED)


def minute_of(at: datetime) -> datetime:
    """The minute that a time is in."""
    return at.replace(second=0, microsecond=0)


def sample() -> int:
    """Take this minute's samples that are missing, and return how many were taken."""
    minute = minute_of(timezone.now())
    taken = UsageSample.objects.filter(minute=minute).values("configuration")
    missing = CloudConfiguration.objects.filter(provider=Provider.LOCAL, deleted_at=None).exclude(pk__in=taken)
    configurations = list(missing)
    if not configurations:
        return 0
    clusters = _with_machines(configurations)
    rows = []
    for configuration in configurations:
        try:
            vcpus = vcpus_in_use(configuration, clusters[configuration.pk])
        except CloudError as error:  # one that cannot be looked at must not hide the others
            logger.warning("The vCPUs of %s were not counted: %s", configuration.pk, error)
            continue
        rows.append(UsageSample(configuration=configuration, minute=minute, vcpus=vcpus))
    UsageSample.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def vcpus_in_use(configuration: CloudConfiguration, clusters: list[Cluster]) -> int:
    """The vCPUs of all machines of these clusters that are there now. Raises CloudError."""
    if not clusters:
        return 0
    cloud = cloud_of(configuration)
    regions = {cluster.workspace.region for cluster in clusters}
    vcpus = {kind.name: kind.vcpus for region in regions for kind in types_of(configuration, region)}
    observations = cloud.observe_clusters([cluster.handle for cluster in clusters])
    total = 0
    for cluster, observation in zip(clusters, observations, strict=True):
        there = sum(node.health is not Health.LOST for node in observation.nodes)
        if there and cluster.instance_type not in vcpus:
            raise CloudError("InstanceTypeUnknown", f"Nobody knows how many vCPUs {cluster.instance_type} has.")
        total += there * vcpus.get(cluster.instance_type, 0)
    return total


def prune() -> int:
    """Forget samples that no plot shows any more; returns how many."""
    return UsageSample.objects.filter(minute__lt=timezone.now() - KEPT).delete()[0]


def history(configuration: CloudConfiguration, start: datetime, end: datetime, period: int) -> list[Sample]:
    """The highest sample in each stretch of ``period`` seconds, counted from the epoch; one without any is missing."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT date_bin(%s * interval '1 second', minute, 'epoch') AS bin, max(vcpus)
               FROM billing_usagesample WHERE configuration_id = %s AND minute >= %s AND minute < %s
               GROUP BY bin ORDER BY bin""",
            [period, configuration.pk, start, end],
        )
        return [Sample(at, vcpus) for at, vcpus in cursor.fetchall()]


def samples_between(configurations: set[UUID], after: datetime, until: datetime) -> dict[UUID, dict[datetime, int]]:
    """The samples in ``(after, until]`` by configuration and minute."""
    found: dict[UUID, dict[datetime, int]] = defaultdict(dict)
    rows = UsageSample.objects.filter(configuration__in=configurations, minute__gt=after, minute__lte=until)
    for configuration, minute, vcpus in rows.values_list("configuration", "minute", "vcpus"):
        found[configuration][minute] = vcpus
    return found


def _with_machines(configurations: list[CloudConfiguration]) -> dict[UUID, list[Cluster]]:
    found: dict[UUID, list[Cluster]] = defaultdict(list)
    rows = Cluster.objects.exclude(status__in=WITHOUT_MACHINES).filter(
        workspace__cloud_configuration__in=configurations
    )
    for cluster in rows.select_related("workspace"):
        found[cluster.workspace.cloud_configuration_id].append(cluster)
    return found
