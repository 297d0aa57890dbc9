"""What has a price. Money is the billing app's, which stands above and puts its own functions here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from clusters.models import Cluster
from workspaces.models import Workspace


def _nothing(cluster: Cluster) -> Decimal:
    return Decimal(0)


def _anything(workspace: Workspace, instance_type: str) -> None:
    """Where nobody charges, everything may be started."""


def _no_rates(workspace: Workspace, instance_types: Iterable[str]) -> Mapping[str, Decimal | None]:
    return {}


refuse_unpriced: Callable[[Workspace, str], None] = _anything
"""Raises UserError where nobody could charge for an instance of this type in this workspace."""

hourly: Callable[[Workspace, Iterable[str]], Mapping[str, Decimal | None]] = _no_rates
"""US dollars that an hour of an instance costs now, by type: None where it has no price, so that it cannot be started;
left out where nobody charges."""

saved_this_month: Callable[[Cluster], Decimal] = _nothing
"""US dollars that auto-pause and auto-stop of a cluster saved in this month."""
