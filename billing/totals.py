"""Usage added up by day and by whatever somebody wants to know: the workspace, the cluster, who made it, a tag.

Intervals that have ended are in ``UsageDay``; those that are open, few, are counted until now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, F, Func, Q, QuerySet, Sum, TextField, Value

from accounts.models import Organization
from billing.models import UsageDay, UsageInterval
from billing.months import midnight
from billing.usage import cost, days_of, minutes_within

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
    """Of an organization, or a part of it: what has ended, to be asked for, and what goes on at ``now``."""

    ended: QuerySet[UsageDay]
    running: list[UsageInterval]
    now: datetime

    def by_value(self, days: list[date], by: Dimension) -> dict[Any, Amount]:
        """What each workspace, cluster, … used on these days, which follow on each other."""
        found: dict[Any, Amount] = defaultdict(Amount)
        for key, minutes, hours in _added_up(_keyed(self._ended(days), by), "key"):
            found[key] += Amount(minutes, hours / 60)
        for _, interval, amount in self._running(days):
            found[by.of(interval)] += amount
        return dict(found)

    def by_day(self, days: list[date]) -> dict[date, Amount]:
        """What was used on each of these days on which something was."""
        found: dict[date, Amount] = defaultdict(Amount)
        for day, minutes, hours in _added_up(self._ended(days), "day"):
            found[day] += Amount(minutes, hours / 60)
        for day, _, amount in self._running(days):
            found[day] += amount
        return dict(found)

    def by_day_and_value(self, days: list[date], by: Dimension, values: list[Any]) -> dict[tuple[date, Any], Amount]:
        """What some of them used on each of these days."""
        found: dict[tuple[date, Any], Amount] = defaultdict(Amount)
        wanted = Q(key__in=[value for value in values if value is not None])
        if None in values:
            wanted |= Q(key=None)
        rows = _keyed(self._ended(days), by).filter(wanted)
        for day, key, minutes, hours in _added_up(rows, "day", "key"):
            found[day, key] += Amount(minutes, hours / 60)
        for day, interval, amount in self._running(days):
            if by.of(interval) in values:
                found[day, by.of(interval)] += amount
        return dict(found)

    def _ended(self, days: list[date]) -> QuerySet[UsageDay]:
        return self.ended.filter(day__gte=days[0], day__lte=days[-1])

    def _running(self, days: list[date]) -> Iterator[tuple[date, UsageInterval, Amount]]:
        for interval in self.running:
            until = max(self.now, interval.started_at)
            for day in days_of(max(interval.started_at, midnight(days[0])), min(until, midnight(days[-1]))):
                start = midnight(day)
                minutes = minutes_within(interval.started_at, until, start, start + timedelta(days=1))
                price = cost(minutes, interval.instances, interval.hourly)
                yield day, interval, Amount(minutes * interval.instances, price)  # also 0: it runs since a moment ago


def usage_of(organization: Organization, now: datetime, where: dict[str, Any] | None = None) -> Usage:
    """An organization's usage. ``where`` narrows it, as filters."""
    running = UsageInterval.objects.in_organization(organization).filter(ended_at=None, **(where or {}))
    fields = ("workspace_id", "cluster_id", "started_at", "ended_at", "instance_type", "instances", "hourly")
    running = running.select_related("cluster").only(*fields, "cluster__tags", "cluster__created_by_id")
    return Usage(UsageDay.objects.in_organization(organization).filter(**(where or {})), list(running), now)


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
