"""Usage by the templates whose runs it was for.

A job cluster is its template's from beginning to end. A shared cluster is a template's while one of its runs has it:
the part of an interval's minutes that lies between the start and the end of an attempt, counted as parts of days are.
What is left is no template's: notebooks, other jobs, and clusters that wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, OuterRef, Subquery, Sum

from billing.months import midnight
from billing.totals import MONEY, Amount, Dimension, Usage
from jobs.models import Run

SHARED = """
    SELECT day::date, template_id, sum(minutes)::bigint, sum(minutes * hourly)
    FROM (
        SELECT run.template_id, used.instances, used.hourly, used.started_at AT TIME ZONE 'UTC' AS opened,
            greatest(attempt.started_at, used.started_at, %(start)s) AT TIME ZONE 'UTC' AS begun,
            least(coalesce(attempt.ended_at, %(now)s), coalesce(used.ended_at, %(now)s), %(end)s)
                AT TIME ZONE 'UTC' AS until
        FROM jobs_runattempt AS attempt
        JOIN jobs_run AS run ON run.id = attempt.run_id AND run.template_id IS NOT NULL
        JOIN clusters_cluster AS cluster ON cluster.id = run.cluster_id AND cluster.dedicated_to IS NULL
        JOIN workspaces_workspace AS workspace ON workspace.id = cluster.workspace_id
        JOIN billing_usageinterval AS used ON used.cluster_id = cluster.id
            AND tstzrange(used.started_at, used.ended_at, '[)')
                && tstzrange(attempt.started_at, greatest(attempt.started_at, attempt.ended_at), '[]')
        WHERE workspace.organization_id = %(organization)s
            AND (%(workspace)s::uuid IS NULL OR workspace.id = %(workspace)s)
            AND attempt.started_at < %(end)s AND coalesce(attempt.ended_at, %(now)s) > %(start)s
    ) AS parts
    CROSS JOIN LATERAL generate_series(date_trunc('day', begun), until, interval '1 day') AS day
    CROSS JOIN LATERAL (
        SELECT instances * (floor((extract(epoch FROM least(until, day + interval '1 day') - opened) + 30) / 60)
            - floor((extract(epoch FROM greatest(begun, day) - opened) + 30) / 60)) AS minutes
    ) AS counted
    WHERE until > begun AND day < until
    GROUP BY 1, 2
"""
"""Minutes as in ``billing.usage.minutes_within``."""

Part = tuple[date, UUID | None, Amount]


class TemplateDimension(Dimension):
    """The template of the run that had the cluster."""

    def parts(self, usage: Usage, days: list[date]) -> dict[tuple[date, Any], Amount]:
        """What the runs of each template used on each day; under None what no template's run did."""
        found: dict[tuple[date, Any], Amount] = defaultdict(Amount)
        told: dict[date, Amount] = defaultdict(Amount)
        for day, template, amount in (*_job_clusters(usage, days), *_shared_clusters(usage, days)):
            found[day, template] += amount
            told[day] += amount
        for day, total in usage.by_day(days).items():
            if total != told[day]:
                found[day, None] += Amount(total.minutes - told[day].minutes, total.cost - told[day].cost)
        return dict(found)


TEMPLATE = TemplateDimension("template", "Template", "")


def _job_clusters(usage: Usage, days: list[date]) -> Iterator[Part]:
    template = Run.objects.filter(pk=OuterRef("cluster__dedicated_to")).values("template_id")
    rows = usage.ended_on(days).exclude(cluster__dedicated_to=None).annotate(key=Subquery(template))
    hours = Sum(F("minutes") * F("hourly"), output_field=MONEY)
    grouped: Any = rows.exclude(key=None).order_by().values("day", "key").annotate(total=Sum("minutes"), hours=hours)
    for day, key, minutes, price in grouped.values_list("day", "key", "total", "hours"):
        yield day, key, Amount(minutes, price / 60)
    running = list(usage.running_on(days))
    owners = {owner for _, interval, _ in running if (owner := interval.cluster.dedicated_to)}
    templates = dict(Run.objects.filter(pk__in=owners).values_list("pk", "template_id")) if owners else {}
    for day, interval, amount in running:
        owner = interval.cluster.dedicated_to
        if owner and (key := templates.get(owner)):
            yield day, key, amount


def _shared_clusters(usage: Usage, days: list[date]) -> Iterator[Part]:
    values: dict[str, Any] = {
        "organization": usage.organization.pk,
        "workspace": usage.workspace and usage.workspace.pk,
        "start": midnight(days[0]),
        "end": midnight(days[-1]) + timedelta(days=1),
        "now": usage.now,
    }
    with connection.cursor() as cursor:
        cursor.execute(SHARED, values)
        for day, template, minutes, hours in cursor.fetchall():
            yield day, template, Amount(minutes, Decimal(hours) / 60)
