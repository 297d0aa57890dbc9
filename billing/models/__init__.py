"""The tables of billing."""

from billing.models.statements import Statement, StatementLine, StatementQuerySet, rounded
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
    "Statement",
    "StatementLine",
    "StatementQuerySet",
    "TimeRange",
    "UsageDay",
    "UsageDayQuerySet",
    "UsageInterval",
    "UsageIntervalQuerySet",
    "rounded",
]
