"""What a benchmark is, and the line that it prints."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """Samples of the thing itself and of its bare cost in the same run, both in the benchmark's unit.

    ``notes`` are sentences for people.
    """

    values: Sequence[float]
    floors: Sequence[float] = ()
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Benchmark:
    """A promise: the median of what ``run`` measures is below ``limit``."""

    name: str
    unit: str
    limit: float
    run: Callable[[], Measurement]

    def line(self, measurement: Measurement) -> str:
        """The one line of JSON; ``floor`` and ``ratio`` are null where there is no bare cost to compare with."""
        value = statistics.median(measurement.values)
        floor = statistics.median(measurement.floors) if measurement.floors else None
        return json.dumps(
            {
                "name": self.name,
                "value": round(value, 3),
                "unit": self.unit,
                "n": len(measurement.values),
                "p95": round(percentile(measurement.values, 95), 3),
                "floor": None if floor is None else round(floor, 3),
                "ratio": round(value / floor, 2) if floor else None,
                "limit": self.limit,
            }
        )

    def exceeded(self, measurement: Measurement) -> bool:
        """Whether the promise is broken."""
        return statistics.median(measurement.values) >= self.limit


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest sample that at least ``percent`` of all samples do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
