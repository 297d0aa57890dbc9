"""Usage as a file, for any range of days: a line for each interval with the part of it that lies in the range."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection, transaction
from django.db.models import Q

from accounts import audit
from accounts.audit import Actor
from accounts.audit_export import harmless
from accounts.models import Organization
from billing.models import UsageInterval
from billing.months import midnight
from billing.usage import cost, minutes_within

BATCH = 2000
COLUMNS = (
    *("interval", "workspace", "workspace_id", "cluster", "cluster_id", "instance_type", "instances"),
    *("started_at", "ended_at", "minutes", "usd_per_instance_hour", "cost_usd"),
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
def note_export(*, actor: Actor, organization: Organization, days: Range) -> None:
    """Who took the figures away is on record."""
    audit.record(
        actor,
        "usage.export",
        organization,
        organization=organization,
        first=days.first.isoformat(),
        last=days.last.isoformat(),
    )


def batches(organization: Organization, days: Range, now: datetime) -> Iterator[str]:
    """The lines of CSV in pieces of bounded size, by the time at which the intervals began. Open ones count until
    ``now``, and have no end."""
    rows = UsageInterval.objects.in_organization(organization).overlapping(days.start, days.end)
    rows = rows.select_related("cluster", "workspace").order_by("started_at", "pk")
    rows = rows.only(
        "started_at", "ended_at", "instance_type", "instances", "hourly", "cluster__name", "workspace__name"
    )
    yield ",".join(COLUMNS) + "\r\n"
    after = Q()
    while found := list(rows.filter(after)[:BATCH]):
        last = found[-1]
        after = Q(started_at__gt=last.started_at) | Q(started_at=last.started_at, pk__gt=last.pk)
        after &= Q(started_at__gte=last.started_at)  # which the index understands
        yield _lines(found, days, now)


def _lines(found: list[UsageInterval], days: Range, now: datetime) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines)
    for row in found:
        minutes = minutes_within(row.started_at, row.ended_at or max(now, row.started_at), days.start, days.end)
        values = (
            row.pk,
            row.workspace.name,
            row.workspace_id,
            row.cluster.name,
            row.cluster_id,
            row.instance_type,
            row.instances,
            _time(row.started_at),
            _time(row.ended_at),
            minutes,
            f"{row.hourly.normalize():f}",
            f"{cost(minutes, row.instances, row.hourly).normalize():f}",
        )
        writer.writerow([harmless(value) for value in values])
    return lines.getvalue()


async def stream(organization: Organization, days: Range, now: datetime) -> AsyncIterator[bytes]:
    """All of it. The connection goes back after each piece: however slowly somebody reads, they hold none."""
    pieces = batches(organization, days, now)

    def read() -> bytes | None:
        try:
            piece = next(pieces, None)
            return None if piece is None else piece.encode()
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    while (piece := await sync_to_async(read)()) is not None:
        yield piece


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if at else ""
