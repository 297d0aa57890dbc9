"""From ledger to money: pure functions, the same answer every time.

the interval opens   when the cluster *is* RUNNING (a creation that fails costs nothing)
it closes            when somebody *asks* for pause, stop, restart or deletion, however long that takes; or at failure
another size         counts from when it is reached: until then all machines are there to be used
minutes              half up: 30 seconds are one minute, 29 are none; per interval
parts of an interval (days, months) are differences of the rounded whole, so that they always add up to it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from clusters.ledger import RESTART
from clusters.models import ClusterStatus, Transition, TransitionKind
from portal.clouds.base import Target

ENDING = {Target.PAUSED, Target.STOPPED, Target.TERMINATED, RESTART}
"""Requests that end an interval."""


@dataclass(frozen=True)
class Interval:
    """One size of one cluster from ``started_at`` (UTC) until ``ended_at``; None while it lasts."""

    started_at: datetime
    ended_at: datetime | None
    instance_type: str
    instances: int


def intervals(ledger: Iterable[Transition]) -> list[Interval]:
    """The intervals of one cluster, from its whole ledger in the order of ``seq``."""
    found: list[Interval] = []
    start: datetime | None = None
    instance_type, instances = "", 0

    def close(at: datetime) -> None:
        nonlocal start
        if start is not None and at > start:
            found.append(Interval(start, at, instance_type, instances))
        start = None

    for line in ledger:
        running = line.kind == TransitionKind.STATUS and line.status == ClusterStatus.RUNNING
        if running or (line.kind == TransitionKind.SCALED and start is not None):
            if start is not None and line.instances == instances:
                continue
            close(line.at)
            start, instance_type, instances = line.at, line.instance_type, line.instances
        elif line.kind == TransitionKind.STATUS or (line.kind == TransitionKind.REQUEST and line.status in ENDING):
            close(line.at)
    if start is not None:
        found.append(Interval(start, None, instance_type, instances))
    return found


def minutes_between(start: datetime, end: datetime) -> int:
    """Whole minutes, half up; 0 where the end is not after the start."""
    lasted = end.astimezone(UTC) - start.astimezone(UTC)  # in a zone, Python takes one reading of a clock from another
    return max(0, (lasted + timedelta(seconds=30)) // timedelta(minutes=1))


def minutes_within(started_at: datetime, ended_at: datetime, start: datetime, end: datetime) -> int:
    """The minutes of an interval that fall into ``[start, end)``: parts of an interval add up to the whole."""
    first, last = max(started_at, min(start, ended_at)), min(ended_at, max(end, started_at))
    return max(0, minutes_between(started_at, last) - minutes_between(started_at, first))


def days_of(started_at: datetime, ended_at: datetime) -> Iterator[date]:
    """The days (UTC) in which an interval has a part."""
    day, last = started_at.astimezone(UTC).date(), ended_at.astimezone(UTC).date()
    while day <= last:
        yield day
        day += timedelta(days=1)


def cost(minutes: int, instances: int, hourly: Decimal) -> Decimal:
    """US dollars for that many minutes of that many instances, exact; money is rounded where it is shown."""
    return Decimal(minutes) * instances * hourly / 60
