"""The plot of the metric that alarms watch: a line in steps, gaps where there is no data, and the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from portal.clouds.base import Alarms, Sample

HEIGHT = 1000
"""Of the plot, in its own units; its width is the number of periods."""

HEADROOM = 1.1
"""How much higher the plot is than what it shows."""


@dataclass(frozen=True)
class Range:
    """How far back a plot goes, in periods of so many seconds, and how many columns it has; it ends with the column
    that is now. ``clock`` is how a column's beginning is written below it, on small screens for ``every`` so many."""

    name: str
    label: str
    span: timedelta
    period: int
    columns: int
    clock: str
    every: int

    @property
    def bins(self) -> int:
        """The periods of the plot."""
        return int(self.span.total_seconds()) // self.period

    @property
    def column(self) -> timedelta:
        """How long a column is."""
        return self.span / self.columns


RANGES = {
    each.name: each
    for each in (
        Range("1d", "1 day", timedelta(days=1), 300, 6, "%H:%M", 1),
        Range("1w", "1 week", timedelta(weeks=1), 1800, 7, "%-d %b", 2),
        Range("2w", "2 weeks", timedelta(weeks=2), 3600, 14, "%-d %b", 4),
    )
}
DEFAULT = RANGES["1w"]


@dataclass(frozen=True)
class Gap:
    """A stretch of the plot without data."""

    x: int
    width: int


@dataclass(frozen=True)
class Plot:
    """What the template draws. ``highest`` is None without any data; y runs downward, as SVG has it."""

    range: Range
    start: datetime
    end: datetime
    top: int
    line: str
    area: str
    gaps: list[Gap]
    threshold: int | None
    threshold_y: int
    highest: Sample | None
    highest_x: float
    highest_y: int
    labels: list[str]
    latest: Sample | None


def plot(alarms: Alarms, shown: Range, threshold: int | None, now: datetime) -> Plot:
    """The metric until now. Raises CloudError."""
    column = int(shown.column.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // column + 1) * column, UTC)
    start = end - shown.span
    samples = alarms.metric_history(start, end, shown.period)
    highest = max(samples, key=lambda sample: sample.vcpus, default=None)
    top = max(threshold or 0, highest.vcpus if highest else 0, 1) * HEADROOM
    bins = {int((sample.at - start).total_seconds()) // shown.period: sample.vcpus for sample in samples}

    def y(vcpus: float) -> int:
        return round(HEIGHT - vcpus / top * HEIGHT)

    runs = _runs(sorted(bins))
    return Plot(
        range=shown,
        start=start,
        end=end,
        top=round(top),
        line=" ".join(_line(run, [y(bins[x]) for x in run]) for run in runs),
        area=" ".join(f"{_line(run, [y(bins[x]) for x in run])}V{HEIGHT}H{run[0]}Z" for run in runs),
        gaps=_gaps(runs, max(int((now - start).total_seconds()) // shown.period, max(bins, default=0) + 1)),
        threshold=threshold,
        threshold_y=y(threshold or 0),
        highest=highest,
        highest_x=int((highest.at - start).total_seconds()) // shown.period + 0.5 if highest else 0,
        highest_y=y(highest.vcpus) if highest else 0,
        labels=[f"{start + shown.column * part:{shown.clock}}" for part in range(shown.columns)],
        latest=samples[-1] if samples else None,
    )


def _runs(xs: Sequence[int]) -> list[list[int]]:
    """Numbers in order, parted where one is missing."""
    return [[x for _, x in run] for _, run in groupby(enumerate(xs), lambda pair: pair[1] - pair[0])]


def _line(xs: Sequence[int], ys: Sequence[int]) -> str:
    """A path in steps; each value holds for the width of one period."""
    parts = [f"M{xs[0]} {ys[0]}"]
    for place, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if place and y != ys[place - 1]:
            parts.append(f"H{x}V{y}")
    return "".join([*parts, f"H{xs[-1] + 1}"])


def _gaps(runs: Sequence[Sequence[int]], end: int) -> list[Gap]:
    """Where there is no line before ``end``: what is to come is no gap."""
    edges = [0, *(edge for run in runs for edge in (run[0], run[-1] + 1)), end]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [Gap(start, end - start) for start, end in pairs if end > start]
