"""The tables of billing."""

from billing.models.usage import (
    MeteredCluster,
    Rate,
    TimeRange,
    UsageDay,
    UsageDayQuerySet,
    UsageInterval,
    UsageIntervalQuerySet,
)

__all__ = [
    "MeteredCluster",
    "Rate",
    "TimeRange",
    "UsageDay",
    "UsageDayQuerySet",
    "UsageInterval",
    "UsageIntervalQuerySet",
]
