"""The tables of billing."""

from billing.models.alarms import TRANSITIONS as ALARM_TRANSITIONS
from billing.models.alarms import Alarm, AlarmChange, AlarmEndpoint, AlarmQuerySet, AlarmStatus, UsageSample
from billing.models.budgets import (
    Budget,
    BudgetNotice,
    BudgetOverride,
    BudgetQuerySet,
    NoticeStep,
    SpendHold,
    SpendHoldQuerySet,
)
from billing.models.marketplace import MeterPeriod, MeterPeriodQuerySet, MeterRecord, MeterRecordQuerySet, MeterState
from billing.models.savings import Saving, SavingQuerySet
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
    "ALARM_TRANSITIONS",
    "Alarm",
    "AlarmChange",
    "AlarmEndpoint",
    "AlarmQuerySet",
    "AlarmStatus",
    "Budget",
    "BudgetNotice",
    "BudgetOverride",
    "BudgetQuerySet",
    "MeterPeriod",
    "MeterPeriodQuerySet",
    "MeterRecord",
    "MeterRecordQuerySet",
    "MeterState",
    "MeteredCluster",
    "NoticeStep",
    "Rate",
    "Saving",
    "SavingQuerySet",
    "SpendHold",
    "SpendHoldQuerySet",
    "Statement",
    "StatementLine",
    "StatementQuerySet",
    "TimeRange",
    "UsageDay",
    "UsageDayQuerySet",
    "UsageInterval",
    "UsageIntervalQuerySet",
    "UsageSample",
    "rounded",
]
