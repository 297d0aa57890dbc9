"""What the billing page shows of one month."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Func, TextField

from accounts.models import Organization, User
from billing.months import Month
from billing.templates import TEMPLATE
from billing.totals import DIMENSIONS, Amount, Dimension, TagDimension, Usage, added, usage_of
from billing.usage import cost
from clusters.models import Cluster
from jobs.models import JobTemplate
from workspaces.models import Workspace

SERIES = 7
"""Series of the plot that have a colour of their own; what is smaller is one."""

HEIGHT = 1000
"""Of the plot, in its own units."""

NOISE = Decimal("1e-9")
"""What differences of exact sums may leave of nothing."""

SHOWN = 200
"""Lines of the table."""

LOOK_BACK = 7
"""Full days whose average the forecast takes for each day to come."""


@dataclass
class Line:
    """What one workspace, cluster, person, type or tag used in the month."""

    key: Any
    name: str
    amount: Amount
    colour: int
    detail: str = ""


@dataclass(frozen=True)
class Bar:
    """A part of a day's column, in units of the plot, from below."""

    colour: int
    bottom: int
    height: int


@dataclass(frozen=True)
class Day:
    """A day of the month, in UTC."""

    day: date
    amount: Amount
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Dashboard:
    """A month: the total, by day, and by what was asked for: the largest ``SHOWN`` of ``line_count`` lines.

    ``forecast`` is None for months that are over or to come; ``hourly`` is what all that runs now costs in an hour.
    """

    total: Amount
    today: Amount
    forecast: Decimal | None
    hourly: Decimal
    open_count: int
    days: list[Day]
    lines: list[Line]
    line_count: int

    @property
    def highest(self) -> Decimal:
        """What the dearest day cost: the top of the plot."""
        return max(day.amount.cost for day in self.days)


def dashboard(
    organization: Organization, month: Month, now: datetime, by: Dimension, workspace: Workspace | None = None
) -> Dashboard:
    """Add up one month. Open intervals count until ``now``; ``workspace`` narrows it to one."""
    usage = usage_of(organization, now, workspace)
    by_day = usage.by_day(month.days())
    amounts = usage.by_value(month.days(), by)
    largest = sorted(amounts, key=lambda key: (-amounts[key].cost, -amounts[key].minutes, str(key)))
    names = _names(by, largest[:SHOWN])
    total = added(by_day.values())
    return Dashboard(
        total=total,
        today=by_day.get(now.date(), Amount()),
        forecast=_forecast(usage, month, by_day, total),
        hourly=sum((cost(60, row.instances, row.hourly) for row in usage.running), Decimal(0)),
        open_count=len(usage.running),
        days=_days(usage, month, by, by_day, largest[:SERIES]),
        lines=[
            Line(key, names[key][0], amounts[key], min(place, SERIES), names[key][1])
            for place, key in enumerate(largest[:SHOWN])
        ],
        line_count=len(largest),
    )


def _names(by: Dimension, keys: list[Any]) -> dict[Any, tuple[str, str]]:
    """What people call them, and what tells two of one name apart. One query."""
    known = [key for key in keys if key is not None]
    found: dict[Any, tuple[str, str]] = {None: ("None", "")}
    if by.name == "workspace":
        found |= {row.pk: (row.name, "") for row in Workspace.objects.filter(pk__in=known)}
    elif by.name == "cluster":
        rows = Cluster.objects.filter(pk__in=known).select_related("workspace").only("name", "workspace__name")
        found |= {row.pk: (row.name, f"in {row.workspace.name}") for row in rows}
    elif by.name == "template":
        found[None] = ("In no run of a template", "notebooks, other jobs, and clusters that wait")
        templates = JobTemplate.objects.filter(pk__in=known).select_related("workspace")
        found |= {row.pk: (row.name, f"in {row.workspace.name}") for row in templates.only("name", "workspace__name")}
    elif by.name == "user":
        found[None] = ("The platform", "clusters made for scheduled runs")
        found |= {row.pk: (str(row), row.email) for row in User.objects.filter(pk__in=known)}
    else:
        found[None] = ("Without this tag", "")
        found |= {key: (str(key), "") for key in known}
    return found


def _days(usage: Usage, month: Month, by: Dimension, by_day: dict[date, Amount], coloured: list[Any]) -> list[Day]:
    """Each day with the parts of those that have a colour, and of all others together."""
    highest = max((amount.cost for amount in by_day.values()), default=Decimal(0))
    parts = usage.by_day_and_value(month.days(), by, coloured)
    days = []
    for day in month.days():
        amount = by_day.get(day, Amount())
        stack = [parts.get((day, key), Amount()).cost for key in coloured]
        others = amount.cost - sum(stack, Decimal(0))
        stack += [Decimal(0)] * (SERIES - len(stack)) + [others if others > NOISE else Decimal(0)]
        days.append(Day(day, amount, _bars(stack, highest)))
    return days


def _bars(stack: list[Decimal], highest: Decimal) -> list[Bar]:
    """Parts that together are as high as their sum; what costs something is seen."""
    bars, bottom, below = [], 0, Decimal(0)
    for colour, price in enumerate(stack):
        below += price
        top = int(below / highest * HEIGHT) if highest else 0
        if price:
            top = max(top, bottom + 4)
            bars.append(Bar(colour, bottom, top - bottom))
            bottom = top
    return bars


def _forecast(usage: Usage, month: Month, by_day: dict[date, Amount], total: Amount) -> Decimal | None:
    """The month's end if the days to come cost as much as the last full ones did on average."""
    now = usage.now
    if not month.start <= now < month.end:
        return None
    last = [now.date() - timedelta(days=ago) for ago in range(LOOK_BACK, 0, -1)]
    earlier = [day for day in last if day < month.first]
    known = {**by_day, **(usage.by_day(earlier) if earlier else {})}
    before = added(known[day] for day in last if day in known)
    left = Decimal((month.end - now) / timedelta(days=1))
    return total.cost + before.cost / LOOK_BACK * left


def dimensions(organization: Organization) -> dict[str, Dimension]:
    """All that an organization's usage can be added up by: by name, also ``template`` and ``tag:NAME`` for each tag."""
    tags = map(TagDimension.named, tag_keys(organization))
    return {**DIMENSIONS, TEMPLATE.name: TEMPLATE, **{tag.name: tag for tag in tags}}


def tag_keys(organization: Organization) -> list[str]:
    """The names of all tags that clusters of the organization have had."""
    rows = Cluster.objects.filter(workspace__organization=organization)
    names = rows.annotate(tag=Func("tags", function="jsonb_object_keys", output_field=TextField()))
    return sorted(names.order_by().values_list("tag", flat=True).distinct())
