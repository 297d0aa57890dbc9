"""Closes months: what was used is written down, told, and from then on only corrected by lines of a later statement.

A statement has a line for every difference between what was used until its month's end and what earlier statements have
told. For its own month that is all; for earlier ones it is nothing, unless somebody had to repair the usage since.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, Max, Min, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import audit
from accounts.models import Organization
from billing import metering
from billing.models import Statement, UsageInterval
from billing.months import Month
from clusters.models import Cluster, Transition

logger = logging.getLogger(__name__)

WAIT = timedelta(days=1)
"""From a month's end to its statement."""

LINES = """
    WITH used AS (
        SELECT date_trunc('month', day)::date AS of, workspace_id, cluster_id, instance_type, hourly,
            sum(minutes) AS minutes
        FROM billing_usageday WHERE organization_id = %(organization)s AND day < %(next)s GROUP BY 1, 2, 3, 4, 5
        UNION ALL
        -- What goes on, until the month's end; minutes as in billing.usage.minutes_within
        SELECT month::date, workspace_id, cluster_id, instance_type, hourly, instances * (
            floor((extract(epoch FROM (month + interval '1 month') AT TIME ZONE 'UTC' - started_at) + 30) / 60)
            - floor((greatest(0, extract(epoch FROM month AT TIME ZONE 'UTC' - started_at)) + 30) / 60))
        FROM billing_usageinterval
        CROSS JOIN generate_series(
            date_trunc('month', started_at AT TIME ZONE 'UTC'), %(first)s::timestamp, interval '1 month') AS month
        WHERE organization_id = %(organization)s AND ended_at IS NULL
        UNION ALL
        SELECT of, workspace_id, cluster_id, instance_type, hourly, -minutes
        FROM billing_statementline JOIN billing_statement ON billing_statement.id = statement_id
        WHERE organization_id = %(organization)s
    ), differences AS (
        SELECT of, workspace_id, cluster_id, instance_type, hourly, sum(minutes) AS minutes
        FROM used GROUP BY 1, 2, 3, 4, 5 HAVING sum(minutes) <> 0
    )
    INSERT INTO billing_statementline
        (statement_id, of, workspace_id, cluster_id, workspace_name, cluster_name, instance_type, hourly, minutes)
    SELECT %(statement)s, of, differences.workspace_id, cluster_id, workspaces_workspace.name, clusters_cluster.name,
        differences.instance_type, hourly, minutes
    FROM differences
    JOIN workspaces_workspace ON workspaces_workspace.id = differences.workspace_id
    JOIN clusters_cluster ON clusters_cluster.id = cluster_id
    ORDER BY of DESC, workspaces_workspace.name, differences.workspace_id, clusters_cluster.name, cluster_id, 8, hourly
"""
"""One statement, so that it sees one moment: metering may write meanwhile."""

CLOSE = """
    UPDATE billing_statement SET closed_at = %(now)s, total = lines.total, line_count = lines.count
    FROM (
        SELECT coalesce(round(sum(minutes * hourly) / 60, 2), 0) AS total, count(*) AS count
        FROM billing_statementline WHERE statement_id = %(statement)s
    ) AS lines
    WHERE id = %(statement)s
"""


def close_due() -> int:
    """Close all months that ended long enough ago, oldest first, and return how many there were."""
    now = timezone.now()
    metering.meter()
    last = last_closable(now)
    told = Max("statements__first")
    behind = Organization.objects.annotate(told=told).filter(Q(told=None) | Q(told__lt=last.first))
    closed = 0
    used = Exists(UsageInterval.objects.filter(organization=OuterRef("pk")))
    for organization in behind.filter(used).order_by("pk"):
        for month in unclosed(organization, last):
            if not close(organization, month, now):
                break
            closed += 1
    return closed


def last_closable(now: datetime) -> Month:
    """The latest month that may be closed."""
    return Month.of((now - WAIT).date()).previous


def unclosed(organization: Organization, last: Month) -> list[Month]:
    """The months from the one after the last statement, or the first with usage, up to ``last``. An organization that
    was deleted gets none after the month of its end."""
    if organization.deleted_at:
        last = min(last, Month.of(organization.deleted_at.date()), key=lambda month: month.first)
    before = Statement.objects.in_organization(organization).aggregate(last=Max("first"))["last"]
    began = UsageInterval.objects.in_organization(organization).aggregate(first=Min("started_at"))["first"]
    if not before and not began:
        return []
    month = Month(before).next if before else Month.of(began.astimezone(UTC).date())
    months = []
    while month.first <= last.first:
        months.append(month)
        month = month.next
    return months


def close(organization: Organization, month: Month, now: datetime) -> bool:
    """Write the statement of one month; False, and nothing, while a ledger is not metered as far as the month's end, or
    when somebody else closes it."""
    metering.meter(organization)
    with transaction.atomic():
        if not Organization.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=organization.pk):
            return False
        if Statement.objects.in_organization(organization).filter(first__gte=month.first).exists():
            return False
        if unmetered(organization, month):
            logger.error("%s of %s cannot be closed: not all its ledgers are metered", month, organization.pk)
            return False
        statement = Statement.objects.create(organization=organization, first=month.first)
        values: dict[str, Any] = {
            "organization": organization.pk,
            "statement": statement.pk,
            "first": month.first,
            "next": month.next.first,
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(LINES, values)
            cursor.execute(CLOSE, values)
        statement.refresh_from_db()
        audit.record(
            audit.system("statements"),
            "statement.close",
            statement,
            organization=organization,
            month=str(month),
            total=str(statement.total),
            lines=statement.line_count,
        )
    return True


def unmetered(organization: Organization, month: Month) -> bool:
    """Whether a ledger has lines of this time that the intervals do not reflect yet."""
    clusters = Cluster.objects.filter(workspace__organization=organization, ledger_length__gt=0)
    behind = clusters.filter(Q(metered=None) | ~Q(metered__ledger_length=F("ledger_length")))
    lines = Transition.objects.filter(cluster=OuterRef("pk"), at__lt=month.end)
    later = lines.filter(seq__gt=Coalesce(OuterRef("metered__ledger_length"), 0))
    return behind.filter(Exists(later)).exists()
