"""Usage added up by day and by whatever somebody wants to know: the workspace, the cluster, who made it, a tag.

Intervals that have ended are in ``UsageDay``; those that are open, few, are counted until now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, F, Func, Q, QuerySet, Sum, TextField, Value

from accounts.models import Organization
from billing.models import UsageDay, UsageInterval
from billing.months import midnight
from billing.usage import cost, days_of, minutes_within
from workspaces.models import Workspace

MONEY = DecimalField(max_digits=40, decimal_places=6)


@dataclass(frozen=True)
class Dimension:
    """What usage is added up by. ``path`` leads there from a row of usage; ``of`` reads the same from an open interval
    whose cluster is at hand."""

    name: str
    label: str
    path: str

    def of(self, interval: UsageInterval) -> Any:
        """The value of one interval."""
        found: Any = interval
        for step in self.path.split("__"):
            found = getattr(found, step)
        return found

    def parts(self, usage: Usage, days: list[date]) -> dict[tuple[date, Any], Amount] | None:
        """What each value used on each day, where that cannot be read from the rows of usage one by one."""
        return None


DIMENSIONS = {
    dimension.name: dimension
    for dimension in (
        Dimension("workspace", "Workspace", "workspace_id"),
        Dimension("cluster", "Cluster", "cluster_id"),
        Dimension("user", "Person", "cluster__created_by_id"),
        Dimension("type", "Instance type", "instance_type"),
    )
}


class TagDimension(Dimension):
    """The value of one tag of the clusters."""

    @classmethod
    def named(cls, key: str) -> TagDimension:
        """The tag of this name."""
        return cls(f"tag:{key}", f"Tag {key}", key)

    def of(self, interval: UsageInterval) -> Any:
        """None where the cluster has no such tag."""
        return interval.cluster.tags.get(self.path)


@dataclass(frozen=True)
class Amount:
    """Minutes times instances, and US dollars for them, not rounded."""

    minutes: int = 0
    cost: Decimal = Decimal(0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.minutes + other.minutes, self.cost + other.cost)


@dataclass(frozen=True)
class Usage:
    """Of an organization, or one workspace: what has ended, to be asked for, and what goes on at ``now``."""

    organization: Organization
    workspace: Workspace | None
    ended: QuerySet[UsageDay]
    running: list[UsageInterval]
    now: datetime
    _known: dict[Any, dict[tuple[date, Any], Amount] | None] = field(default_factory=dict, repr=False)

    def by_value(self, days: list[date], by: Dimension) -> dict[Any, Amount]:
        """What each workspace, cluster, … used on these days, which follow on each other."""
        found: dict[Any, Amount] = defaultdict(Amount)
        if (parts := self._parts(days, by)) is not None:
            for (_, key), amount in parts.items():
                found[key] += amount
            return dict(found)
        for key, minutes, hours in _added_up(_keyed(self.ended_on(days), by), "key"):
            found[key] += Amount(minutes, hours / 60)
        for _, interval, amount in self.running_on(days):
            found[by.of(interval)] += amount
        return dict(found)

    def by_day(self, days: list[date]) -> dict[date, Amount]:
        """What was used on each of these days on which something was."""
        found: dict[date, Amount] = defaultdict(Amount)
        for day, minutes, hours in _added_up(self.ended_on(days), "day"):
            found[day] += Amount(minutes, hours / 60)
        for day, _, amount in self.running_on(days):
            found[day] += amount
        return dict(found)

    def by_day_and_value(self, days: list[date], by: Dimension, values: list[Any]) -> dict[tuple[date, Any], Amount]:
        """What some of them used on each of these days."""
        if (parts := self._parts(days, by)) is not None:
            return {(day, key): amount for (day, key), amount in parts.items() if key in values}
        found: dict[tuple[date, Any], Amount] = defaultdict(Amount)
        wanted = Q(key__in=[value for value in values if value is not None])
        if None in values:
            wanted |= Q(key=None)
        rows = _keyed(self.ended_on(days), by).filter(wanted)
        for day, key, minutes, hours in _added_up(rows, "day", "key"):
            found[day, key] += Amount(minutes, hours / 60)
        for day, interval, amount in self.running_on(days):
            if by.of(interval) in values:
                found[day, by.of(interval)] += amount
        return dict(found)

    def _parts(self, days: list[date], by: Dimension) -> dict[tuple[date, Any], Amount] | None:
        """Asked for once: a page adds them up in two ways."""
        key = (by, days[0], days[-1])
        if key not in self._known:
            self._known[key] = by.parts(self, days)
        return self._known[key]

    def ended_on(self, days: list[date]) -> QuerySet[UsageDay]:
        """The rows of intervals that have ended."""
        return self.ended.filter(day__gte=days[0], day__lte=days[-1])

    def running_on(self, days: list[date]) -> Iterator[tuple[date, UsageInterval, Amount]]:
        """What goes on, with its part of each day."""
        for interval in self.running:
            until = max(self.now, interval.started_at)
            for day in days_of(max(interval.started_at, midnight(days[0])), min(until, midnight(days[-1]))):
                start = midnight(day)
                minutes = minutes_within(interval.started_at, until, start, start + timedelta(days=1))
                price = cost(minutes, interval.instances, interval.hourly)
                yield day, interval, Amount(minutes * interval.instances, price)  # also 0: it runs since a moment ago


def usage_of(organization: Organization, now: datetime, workspace: Workspace | None = None) -> Usage:
    """An organization's usage, or that of one of its workspaces."""
    where = {"workspace": workspace} if workspace else {}
    running = UsageInterval.objects.in_organization(organization).filter(ended_at=None, **where)
    fields = ("workspace_id", "cluster_id", "started_at", "ended_at", "instance_type", "instances", "hourly")
    of_cluster = ("cluster__tags", "cluster__created_by_id", "cluster__dedicated_to")
    running = running.select_related("cluster").only(*fields, *of_cluster)
    ended = UsageDay.objects.in_organization(organization).filter(**where)
    return Usage(organization, workspace, ended, list(running), now)


def added(amounts: Iterable[Amount]) -> Amount:
    """All of them together."""
    return sum(amounts, Amount())


def _keyed(rows: QuerySet[UsageDay], by: Dimension) -> QuerySet[UsageDay]:
    if not isinstance(by, TagDimension):
        return rows.annotate(key=F(by.path))
    # Django's own transform takes a tag that is called 2026 for a place in a list
    tag = Func("cluster__tags", Value(by.path), function="jsonb_extract_path_text", output_field=TextField())
    return rows.annotate(key=tag)


def _added_up(rows: QuerySet[UsageDay], *names: str) -> Iterator[tuple[Any, ...]]:
    """Minutes, and US dollars times 60, for each value of the columns."""
    hours = Sum(F("minutes") * F("hourly"), output_field=MONEY)
    grouped: Any = rows.order_by().values(*names).annotate(total=Sum("minutes"), hours=hours)
    found: Iterator[tuple[Any, ...]] = iter(grouped.values_list(*names, "total", "hours"))
    return found
