"""Keeps the usage intervals in step with the ledgers. Reads the ledger; nobody calls billing to bill.

What is written is a function of ledgers and rates alone: to derive it anew gives the same (``manage.py check_usage``).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from accounts.models import Organization
from billing import savings
from billing.models import MeteredCluster, UsageDay, UsageInterval
from billing.rates import Prices
from billing.usage import days_of, intervals, minutes_within
from clusters.models import Cluster, Transition

logger = logging.getLogger(__name__)

BATCH = 500
"""Clusters of one transaction."""

DAY = timedelta(days=1)


def meter(organization: Organization | None = None, limit: int = 20_000) -> int:
    """Take over every ledger that grew since the last time, and return how many did."""
    behind = Cluster.objects.filter(
        Q(metered=None) | ~Q(metered__ledger_length=F("ledger_length")), ledger_length__gt=0
    )
    if organization is not None:
        behind = behind.filter(workspace__organization=organization)
    waiting = list(behind.values_list("pk", flat=True)[:limit])
    done = 0
    for first in range(0, len(waiting), BATCH):
        batch = waiting[first : first + BATCH]
        try:
            done += rebuild(batch)
        except IntegrityError:  # one ledger that makes no sense must not keep the others from being billed
            done += sum(map(_rebuilt_alone, batch))
    return done


def _rebuilt_alone(cluster_id: UUID) -> int:
    try:
        return rebuild([cluster_id])
    except IntegrityError:
        logger.exception("The ledger of cluster %s cannot be billed", cluster_id)
        return 0


@transaction.atomic
def rebuild(cluster_ids: Sequence[UUID]) -> int:
    """Write the intervals, days and savings of some clusters from their whole ledgers, and return how many there were.

    Only what differs is written. An interval keeps the rate it started with. Clusters that somebody is working on are
    left for the next time: nobody waits for the bill.
    """
    rows = Cluster.objects.select_for_update(of=("self",), skip_locked=True).filter(pk__in=cluster_ids)
    clusters = list(rows.select_related("workspace__cloud_configuration").order_by("pk"))
    known = MeteredCluster.objects.in_bulk([cluster.pk for cluster in clusters])
    changes = _all_changes(clusters)
    _write(changes)
    _write_days(changes, known)
    savings.write([savings.Metered(change.cluster, change.ledger, change.all) for change in changes])
    MeteredCluster.objects.bulk_create(
        [MeteredCluster(cluster=cluster, ledger_length=cluster.ledger_length) for cluster in clusters],
        update_conflicts=True,
        unique_fields=["cluster"],
        update_fields=["ledger_length"],
    )
    return len(clusters)


def derived(cluster_ids: Collection[UUID]) -> list[UsageInterval]:
    """The intervals of some clusters as their ledgers say now; nothing is written, and nobody waits."""
    clusters = Cluster.objects.filter(pk__in=cluster_ids).select_related("workspace__cloud_configuration")
    return [row for change in _all_changes(list(clusters)) for row in change.all]


def _all_changes(clusters: list[Cluster]) -> list[_Changes]:
    stored: dict[UUID, dict[datetime, UsageInterval]] = defaultdict(dict)
    for interval in UsageInterval.objects.filter(cluster__in=clusters):
        stored[interval.cluster_id][interval.started_at] = interval
    ledgers = _ledgers(clusters)
    prices = Prices()
    return [_changes(cluster, ledgers.get(cluster.pk, []), stored[cluster.pk], prices) for cluster in clusters]


@dataclass(frozen=True)
class _Changes:
    """What has to be written for one cluster. ``all`` are its intervals as they should be; in ``spans`` something is
    another than it was."""

    cluster: Cluster
    ledger: list[Transition]
    all: list[UsageInterval]
    gone: list[UsageInterval]
    ended: list[UsageInterval]
    new: list[UsageInterval]
    spans: list[tuple[datetime, datetime]]


def _ledgers(clusters: Iterable[Cluster]) -> dict[UUID, list[Transition]]:
    lines = Transition.objects.filter(cluster__in=list(clusters)).order_by("cluster_id", "seq").iterator()
    return {cluster_id: list(ledger) for cluster_id, ledger in groupby(lines, key=lambda line: line.cluster_id)}


def _changes(
    cluster: Cluster, ledger: list[Transition], stored: dict[datetime, UsageInterval], prices: Prices
) -> _Changes:
    wanted, ended, new = [], [], []
    gone = dict(stored)
    spans: list[tuple[datetime, datetime]] = []
    for found in intervals(ledger):
        row = stored.get(found.started_at)
        if row and (row.instance_type, row.instances) == (found.instance_type, found.instances):
            del gone[found.started_at]
            if row.ended_at != found.ended_at:
                spans += [(row.started_at, end) for end in (row.ended_at, found.ended_at) if end]
                row.ended_at = found.ended_at
                ended.append(row)
        else:
            provider = cluster.workspace.cloud_configuration.provider
            at = prices.hourly_at(provider, found.instance_type, found.started_at)
            row = UsageInterval(
                organization_id=cluster.workspace.organization_id,
                workspace_id=cluster.workspace_id,
                cluster=cluster,
                started_at=found.started_at,
                ended_at=found.ended_at,
                instance_type=found.instance_type,
                instances=found.instances,
                hourly=at or Decimal(0),
            )
            new.append(row)
        wanted.append(row)
    spans += [(row.started_at, row.ended_at) for row in (*gone.values(), *new) if row.ended_at]
    return _Changes(cluster, ledger, wanted, list(gone.values()), ended, new, spans)


def _write(changes: list[_Changes]) -> None:
    """First what goes, so that the database never sees two intervals at a time."""
    gone = [row.pk for change in changes for row in change.gone]
    if gone:
        UsageInterval.objects.filter(pk__in=gone).delete()
    UsageInterval.objects.bulk_update([row for change in changes for row in change.ended], ["ended_at"])
    UsageInterval.objects.bulk_create([row for change in changes for row in change.new])


def _write_days(changes: list[_Changes], known: dict[UUID, MeteredCluster]) -> None:
    """The days on which something changed; all of them for a cluster that is metered for the first time."""
    afresh = [change.cluster for change in changes if change.cluster.pk not in known]
    UsageDay.objects.filter(cluster__in=afresh).delete()
    rows: list[UsageDay] = []
    stale: list[tuple[UUID, date]] = []
    for change in changes:
        touched = {day for span in change.spans for day in days_of(*span)}
        if change.cluster.pk in known:
            stale += [(change.cluster.pk, day) for day in touched]
        rows += day_rows(change.cluster, change.all, touched if change.cluster.pk in known else None)
    if stale:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM billing_usageday USING unnest(%s::uuid[], %s::date[]) AS stale (cluster_id, day) "
                "WHERE billing_usageday.cluster_id = stale.cluster_id AND billing_usageday.day = stale.day",
                [[cluster_id for cluster_id, _ in stale], [day for _, day in stale]],
            )
    UsageDay.objects.bulk_create(rows)


def day_rows(cluster: Cluster, rows: Iterable[UsageInterval], only: set[date] | None = None) -> list[UsageDay]:
    """What a cluster's intervals that have ended come to on each day (UTC), or on some days."""
    minutes: dict[tuple[date, str, Decimal], int] = defaultdict(int)
    for row in rows:
        if row.ended_at is None:
            continue
        for day in days_of(row.started_at, row.ended_at):
            if only is None or day in only:
                start = datetime(day.year, day.month, day.day, tzinfo=UTC)
                part = minutes_within(row.started_at, row.ended_at, start, start + DAY)
                minutes[day, row.instance_type, row.hourly] += part * row.instances
    return [
        UsageDay(
            organization_id=cluster.workspace.organization_id,
            workspace_id=cluster.workspace_id,
            cluster=cluster,
            day=day,
            instance_type=instance_type,
            hourly=hourly,
            minutes=total,
        )
        for (day, instance_type, hourly), total in minutes.items()
        if total
    ]
