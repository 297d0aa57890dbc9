"""What a run costs. Money is the billing app's, which stands above this one and puts its own function here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from jobs.models import Run


@dataclass(frozen=True)
class RunCost:
    """A run's share of its cluster's bill: whole minutes of all attempts, and US dollars for them at the rate per
    instance and hour that held when it started. It is no charge of its own."""

    minutes: int
    dollars: Decimal
    hourly: Decimal


def _unknown(_: Iterable[Run]) -> dict[UUID, RunCost]:
    return {}


costs_of: Callable[[Iterable[Run]], dict[UUID, RunCost]] = _unknown
"""The costs of runs that have started, by their ids, with one look at the rates."""
