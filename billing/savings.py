"""What pausing and stopping idle clusters saves: what they would have cost, had they run on.

it begins      when the platform, by itself, asks for a pause or stop that ends a charged interval
it ends        when anybody asks anything of the cluster: to resume, stop, delete or scale it; or LONGEST after
it counts      whole minutes, half up, times the instances and the rate of the interval that ended
its month      is the one (UTC) in which it begins

Nobody knows when somebody would have noticed. LONGEST is a night: who forgets a cluster in the evening finds it in the
morning. So of a cluster that rests for weeks, twelve hours count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, DateTimeField, DurationField, ExpressionWrapper, F, Sum, Value
from django.db.models.functions import Coalesce, Extract, Floor, Greatest, Least
from django.utils import timezone

from accounts import audit
from accounts.models import Organization
from billing.models import Saving, UsageInterval
from billing.months import Month
from billing.totals import MONEY
from billing.usage import cost, minutes_between
from clusters.models import Cluster, Transition, TransitionKind
from clusters.services_idle import REASONS
from portal.clouds.base import Target

LONGEST = timedelta(hours=12)
"""How much of one pause counts."""

BY_ITSELF = frozenset(audit.system(reason).label for reason in REASONS.values())
"""As which the ledger names the platform when it lets an idle cluster go."""


@dataclass(frozen=True)
class Pause:
    """The platform let a cluster go; ``until`` somebody asked something of it, None while nobody has."""

    at: datetime
    until: datetime | None


def pauses(ledger: Iterable[Transition], ends: Iterable[datetime | None]) -> list[Pause]:
    """Those of one cluster that saved something, from its whole ledger and the ends of its charged intervals."""
    charged = set(ends)
    found: list[Pause] = []
    open_since: datetime | None = None
    for line in ledger:
        if line.kind != TransitionKind.REQUEST:
            continue
        if line.actor_label not in BY_ITSELF:
            if line.status != Target.RUNNING:
                charged.discard(line.at)  # of two at one time, the first ended the interval
            if open_since is not None:
                found.append(Pause(open_since, line.at))
            open_since = None
        elif open_since is None and line.at in charged:
            open_since = line.at
    if open_since is not None:
        found.append(Pause(open_since, None))
    return found


def minutes_saved(at: datetime, until: datetime | None, now: datetime) -> int:
    """How many minutes of a pause count, at ``now``."""
    return minutes_between(at, min(until or now, at + LONGEST))


def amount(row: Saving, now: datetime) -> Decimal:
    """US dollars, exact."""
    return cost(minutes_saved(row.paused_at, row.ended_at, now), row.instances, row.hourly)


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClusterSaving:
    """What was saved by one cluster, in how many pauses."""

    cluster: Cluster
    pauses: int
    dollars: Decimal


def saved(organization: Organization, month: Month, now: datetime) -> Decimal:
    """US dollars that an organization saved in a month. One query, over an index alone."""
    rows = Saving.objects.in_organization(organization)
    return _total(rows.filter(paused_at__gte=month.start, paused_at__lt=month.end), now)


def saved_by_cluster(organization: Organization, month: Month, now: datetime, limit: int) -> list[ClusterSaving]:
    """The clusters that saved most in a month. Two queries."""
    rows = Saving.objects.in_organization(organization).filter(paused_at__gte=month.start, paused_at__lt=month.end)
    grouped: Any = rows.values("cluster_id").annotate(dollars=_dollars(now), pauses=Count("pk"))
    largest = list(grouped.order_by("-dollars", "cluster_id")[:limit])
    clusters = Cluster.objects.select_related("workspace").in_bulk([row["cluster_id"] for row in largest])
    return [ClusterSaving(clusters[row["cluster_id"]], row["pauses"], row["dollars"]) for row in largest]


def saved_this_month(cluster: Cluster) -> Decimal:
    """What one cluster saved in this month (UTC), for its page. One query."""
    now = timezone.now()
    return _total(Saving.objects.filter(cluster=cluster, paused_at__gte=Month.parse("", now.date()).start), now)


def _total(rows: Any, now: datetime) -> Decimal:
    return rows.aggregate(dollars=_dollars(now))["dollars"] or Decimal(0)


def _dollars(now: datetime) -> Any:
    """The sum of ``amount``, in the database."""
    moment = DateTimeField()
    latest = ExpressionWrapper(F("paused_at") + Value(LONGEST, output_field=DurationField()), output_field=moment)
    until = Least(Coalesce("ended_at", Value(now, output_field=moment)), latest, output_field=moment)
    lasted = ExpressionWrapper(until - F("paused_at"), output_field=DurationField())
    seconds = Extract(lasted, "epoch", output_field=MONEY)
    minutes = Greatest(Floor((seconds + 30) / 60, output_field=MONEY), Value(0), output_field=MONEY)
    return Sum(minutes * F("instances") * F("hourly"), output_field=MONEY) / Value(60)


# --- writing: by metering, in its transaction -----------------------------------------------------------------------


@dataclass(frozen=True)
class Metered:
    """A cluster with its whole ledger and its intervals as they should be."""

    cluster: Cluster
    ledger: Sequence[Transition]
    intervals: Sequence[UsageInterval]


def write(metered: Sequence[Metered]) -> None:
    """Make the rows of some clusters what their ledgers say. Only what differs is written; clusters that were never
    let go cost nothing."""
    concerned = [each for each in metered if any(line.actor_label in BY_ITSELF for line in each.ledger)]
    if not concerned:
        return
    stored = {
        (row.cluster_id, row.paused_at): row
        for row in Saving.objects.filter(cluster__in=[each.cluster for each in concerned])
    }
    new, changed = [], []
    for row in (row for each in concerned for row in rows_of(each)):
        known = stored.pop((row.cluster_id, row.paused_at), None)
        if known is None:
            new.append(row)
        elif facts(known) != facts(row):
            row.pk = known.pk
            changed.append(row)
    if stored:
        Saving.objects.filter(pk__in=[row.pk for row in stored.values()]).delete()
    Saving.objects.bulk_update(changed, FACTS[1:])
    Saving.objects.bulk_create(new)


def rows_of(metered: Metered) -> list[Saving]:
    """What a cluster has saved, from its ledger and its intervals."""
    by_end: Mapping[datetime | None, UsageInterval] = {row.ended_at: row for row in metered.intervals}
    workspace = metered.cluster.workspace
    return [
        Saving(
            organization_id=workspace.organization_id,
            workspace_id=workspace.pk,
            cluster=metered.cluster,
            paused_at=pause.at,
            ended_at=pause.until,
            instance_type=by_end[pause.at].instance_type,
            instances=by_end[pause.at].instances,
            hourly=by_end[pause.at].hourly,
        )
        for pause in pauses(metered.ledger, by_end)
    ]


FACTS = ("paused_at", "ended_at", "instance_type", "instances", "hourly")


def facts(row: Saving) -> tuple[Any, ...]:
    """All that a row says of its cluster."""
    return tuple(getattr(row, name) for name in FACTS)
