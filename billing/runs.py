"""The share that a run has in its cluster's bill."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from django.utils import timezone

from billing.rates import Prices
from billing.usage import cost, minutes_between
from jobs.costs import RunCost
from jobs.models import Run, RunAttempt


def costs_of(runs: Iterable[Run]) -> dict[UUID, RunCost]:
    """Minutes, half up and for each attempt, times instances, times the rate at the run's start. Two queries."""
    started = {run.pk: run for run in runs if run.started_at and run.instances}
    if not started:
        return {}
    now = timezone.now()
    minutes: dict[UUID, int] = dict.fromkeys(started, 0)
    attempts = RunAttempt.objects.filter(run__in=started)
    for pk, began, ended in attempts.values_list("run_id", "started_at", "ended_at"):
        minutes[pk] += minutes_between(began, ended or now)
    prices = Prices()
    found: dict[UUID, RunCost] = {}
    for pk, run in started.items():
        assert run.started_at is not None
        provider = run.cluster.workspace.cloud_configuration.provider
        hourly = prices.hourly_at(provider, run.instance_type, run.started_at) or Decimal(0)
        found[pk] = RunCost(minutes[pk], cost(minutes[pk], run.instances, hourly), hourly)
    return found
