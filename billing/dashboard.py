"""What the billing page shows, from the usage intervals of one month."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts.models import Organization
from billing.models import UsageInterval
from billing.usage import cost, minutes_within


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC."""

    first: date

    @classmethod
    def parse(cls, text: str, today: date) -> Month:
        """``2026-11``; anything that is not a month is this month."""
        try:
            first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
        except ValueError:
            first = today
        return cls((first if 2000 <= first.year < 3000 else today).replace(day=1))

    @property
    def start(self) -> datetime:
        """The first instant."""
        return datetime(self.first.year, self.first.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        return self.next.start

    @property
    def next(self) -> Month:
        """The month after."""
        return Month((self.first + timedelta(days=32)).replace(day=1))

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month((self.first - timedelta(days=1)).replace(day=1))

    def days(self) -> list[date]:
        """All its days."""
        return [self.first + timedelta(days=n) for n in range((self.next.first - self.first).days)]

    def __str__(self) -> str:
        return self.first.strftime("%Y-%m")


@dataclass
class ClusterLine:
    """What one cluster used in the month. ``minutes`` are instance minutes."""

    cluster_name: str
    workspace_name: str
    instance_type: str
    intervals: int = 0
    minutes: int = 0
    cost: Decimal = Decimal(0)


@dataclass
class Dashboard:
    """The month: the total, by day, by cluster, and every interval."""

    total: Decimal = Decimal(0)
    minutes: int = 0
    open_count: int = 0
    by_day: list[dict[str, Any]] = field(default_factory=list)
    by_cluster: list[ClusterLine] = field(default_factory=list)
    intervals: list[dict[str, Any]] = field(default_factory=list)


def dashboard(organization: Organization, month: Month, now: datetime) -> Dashboard:
    """Add up one month. Open intervals count until ``now``."""
    rows = UsageInterval.objects.in_organization(organization).overlapping(month.start, month.end)
    result = Dashboard()
    days: dict[date, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    lines: dict[tuple[Any, str], ClusterLine] = {}
    for row in rows.select_related("cluster", "workspace").order_by("-started_at"):
        ended = row.ended_at or max(now, row.started_at)
        minutes = minutes_within(row.started_at, ended, month.start, month.end)
        price = cost(minutes, row.instances, row.hourly)
        result.total += price
        result.minutes += minutes * row.instances
        result.open_count += row.ended_at is None
        key = (row.cluster_id, row.instance_type)
        line = lines.setdefault(key, ClusterLine(row.cluster.name, row.workspace.name, row.instance_type))
        line.intervals += 1
        line.minutes += minutes * row.instances
        line.cost += price
        result.intervals.append(
            {
                "cluster_name": row.cluster.name,
                "started_at": row.started_at,
                "ended_at": row.ended_at,
                "instances": row.instances,
                "instance_type": row.instance_type,
                "minutes": minutes,
                "rate": row.hourly,
                "cost": price,
            }
        )
        _spread(days, row, ended, month)
    highest = max((day[0] for day in days.values()), default=Decimal(0))
    for day in month.days():
        price, used = days[day]
        height = int(price / highest * 100) if highest else 0
        result.by_day.append(
            {
                "day": day,
                "cost": price,
                "minutes": int(used),
                "bar_height": max(height, 1 if price else 0),
                "label": f"{day:%-d}",
            }
        )
    result.by_cluster = sorted(lines.values(), key=lambda line: -line.cost)
    return result


def _spread(days: dict[date, list[Decimal]], row: UsageInterval, ended: datetime, month: Month) -> None:
    day = max(row.started_at, month.start).date()
    while day <= min(ended, month.end - timedelta(microseconds=1)).date():
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        minutes = minutes_within(row.started_at, ended, start, start + timedelta(days=1))
        days[day][0] += cost(minutes, row.instances, row.hourly)
        days[day][1] += minutes * row.instances
        day += timedelta(days=1)
