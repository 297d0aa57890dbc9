"""Keeps the usage intervals in step with the ledgers. Reads the ledger; nobody calls billing to bill."""

from __future__ import annotations

import logging
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from accounts.models import Organization
from billing.models import MeteredCluster, UsageInterval
from billing.rates import hourly_at
from billing.usage import intervals
from clusters.models import Cluster

logger = logging.getLogger(__name__)


def meter(organization: Organization | None = None, limit: int = 1000) -> int:
    """Take over every ledger that grew since the last time, and return how many did."""
    behind = Cluster.objects.filter(
        Q(metered=None) | ~Q(metered__ledger_length=F("ledger_length")), ledger_length__gt=0
    )
    if organization is not None:
        behind = behind.filter(workspace__organization=organization)
    done = 0
    for cluster_id in behind.values_list("pk", flat=True)[:limit]:
        try:
            rebuild(cluster_id)
            done += 1
        except IntegrityError:  # one ledger that makes no sense must not keep the others from being billed
            logger.exception("The ledger of cluster %s cannot be billed", cluster_id)
    return done


@transaction.atomic
def rebuild(cluster_id: UUID) -> None:
    """Write the intervals of one cluster anew from its whole ledger. An interval keeps the rate it started with."""
    rows = Cluster.objects.select_for_update(of=("self",)).select_related("workspace__cloud_configuration")
    cluster = rows.get(pk=cluster_id)
    found = intervals(cluster.transitions.order_by("seq"))
    kept_rates = dict(UsageInterval.objects.filter(cluster=cluster).values_list("started_at", "hourly"))
    UsageInterval.objects.filter(cluster=cluster).delete()
    provider = cluster.workspace.cloud_configuration.provider
    rates = {
        interval.started_at: kept_rates[interval.started_at]
        if interval.started_at in kept_rates
        else hourly_at(provider, interval.instance_type, interval.started_at) or Decimal(0)
        for interval in found
    }
    UsageInterval.objects.bulk_create(
        UsageInterval(
            organization_id=cluster.workspace.organization_id,
            workspace_id=cluster.workspace_id,
            cluster=cluster,
            started_at=interval.started_at,
            ended_at=interval.ended_at,
            instance_type=interval.instance_type,
            instances=interval.instances,
            hourly=rates[interval.started_at],
        )
        for interval in found
    )
    MeteredCluster.objects.update_or_create(cluster=cluster, defaults={"ledger_length": cluster.ledger_length})
