"""Usage as a file, for any range of days: a line for each interval with the part of it that lies in the range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing.models import Statement, UsageInterval
from billing.months import midnight
from billing.usage import cost, minutes_within
from portal.export import Column, Kind, Rows

BATCH = 2000
COLUMNS = (
    Column("interval", Kind.NUMBER),
    Column("workspace"),
    Column("workspace_id"),
    Column("cluster"),
    Column("cluster_id"),
    Column("instance_type"),
    Column("instances", Kind.NUMBER),
    Column("started_at", Kind.TIME),
    Column("ended_at", Kind.TIME),
    Column("minutes", Kind.NUMBER),
    Column("usd_per_instance_hour", Kind.AMOUNT),
    Column("cost_usd", Kind.AMOUNT),
)
STATEMENT_COLUMNS = (
    Column("statement"),
    Column("used_in"),
    Column("kind"),
    Column("workspace"),
    Column("workspace_id"),
    Column("cluster"),
    Column("cluster_id"),
    Column("instance_type"),
    Column("instance_minutes", Kind.NUMBER),
    Column("usd_per_instance_hour", Kind.AMOUNT),
    Column("cost_usd", Kind.AMOUNT),
)


@dataclass(frozen=True)
class Range:
    """Whole days in UTC, both included."""

    first: date
    last: date

    @property
    def start(self) -> datetime:
        """The first instant."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        return midnight(self.last + timedelta(days=1))


@transaction.atomic
def note_export(*, actor: Actor, organization: Organization, days: Range, format: str) -> None:
    """Who took the figures away is on record."""
    audit.record(
        actor,
        "usage.export",
        organization,
        organization=organization,
        first=days.first.isoformat(),
        last=days.last.isoformat(),
        format=format,
    )


@transaction.atomic
def note_statement(*, actor: Actor, statement: Statement, format: str) -> None:
    """Who took a statement away is on record."""
    audit.record(actor, "statement.export", statement, organization=statement.organization, format=format)


def batches(organization: Organization, days: Range, now: datetime) -> Iterator[Rows]:
    """The rows of ``COLUMNS`` in batches, by the time at which the intervals began. Open ones count until ``now``, and
    have no end."""
    rows = UsageInterval.objects.in_organization(organization).overlapping(days.start, days.end)
    rows = rows.select_related("cluster", "workspace").order_by("started_at", "pk")
    rows = rows.only(
        "started_at", "ended_at", "instance_type", "instances", "hourly", "cluster__name", "workspace__name"
    )
    after = Q()
    while found := list(rows.filter(after)[:BATCH]):
        last = found[-1]
        after = Q(started_at__gt=last.started_at) | Q(started_at=last.started_at, pk__gt=last.pk)
        after &= Q(started_at__gte=last.started_at)  # which the index understands
        yield [_row(row, days, now) for row in found]


def statement_batches(statement: Statement) -> Iterator[Rows]:
    """The rows of ``STATEMENT_COLUMNS`` in batches, in the order of the statement."""
    after = 0
    while found := list(statement.lines.filter(pk__gt=after).order_by("pk")[:BATCH]):
        after = found[-1].pk
        yield [
            (
                str(statement.month),
                str(line.month),
                "usage" if line.of == statement.first else "correction",
                line.workspace_name,
                line.workspace_id,
                line.cluster_name,
                line.cluster_id,
                line.instance_type,
                line.minutes,
                line.hourly,
                line.amount,
            )
            for line in found
        ]


def _row(row: UsageInterval, days: Range, now: datetime) -> tuple[Any, ...]:
    minutes = minutes_within(row.started_at, row.ended_at or max(now, row.started_at), days.start, days.end)
    return (
        row.pk,
        row.workspace.name,
        row.workspace_id,
        row.cluster.name,
        row.cluster_id,
        row.instance_type,
        row.instances,
        row.started_at,
        row.ended_at,
        minutes,
        row.hourly,
        cost(minutes, row.instances, row.hourly),
    )
