"""Budgets, and clusters that cost a dollar an hour, on a clock that the test moves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from accounts.audit import Actor
from accounts.models import Organization, User
from billing.budgets import Standing, month_of, standings
from billing.models import Budget, Rate, SpendHold
from clusters import reconcile, services
from clusters.models import Cluster
from clusters.services import ACTIONS
from portal.clouds.base import Pending, Settled, Step
from tests.factories import actor
from tests.fakes import Clock
from workspaces.models import Workspace


def dollar_rate(clock: Clock) -> None:
    """One dollar for each hour of ``local.1x``, and two for ``local.2x``."""
    Rate.objects.all().delete()
    for kind, hourly in (("local.1x", 1), ("local.2x", 2)):
        Rate.objects.create(
            provider="LOCAL", instance_type=kind, hourly=Decimal(hourly), valid_from="2026-01-01T00:00:00Z"
        )


def make_budget(organization: Organization, limit: str | int = 100, **fields: Any) -> Budget:
    """A budget of the organization, or of the ``workspace`` or ``user`` in ``fields``."""
    return Budget.objects.create(organization=organization, limit=Decimal(limit), **fields)


def launch(workspace: Workspace, by: User | Actor | None = None, **fields: Any) -> Cluster:
    """A person creates a cluster; no cloud hears of it."""
    values: dict[str, Any] = {"instance_type": "local.1x", "instances": 1, "release": "2026.10", **fields}
    values.setdefault("name", f"c{Cluster.objects.count()}")
    who = by if isinstance(by, Actor) else actor(by)
    return services.create_cluster(actor=who, workspace=workspace, **values)


def settle(cluster: Cluster) -> Cluster:
    """The cloud has done what was asked for, now."""
    machine = reconcile.ClusterMachine()
    row = Cluster.objects.get(pk=cluster.pk)
    row.due_at = None
    machine.apply(row, Step(row.handle, Settled()))
    row.save()
    return row


def deploying(cluster: Cluster) -> None:
    """The cloud is at it."""
    row = Cluster.objects.get(pk=cluster.pk)
    reconcile.ClusterMachine().apply(row, Step(row.handle, Pending(1)))
    row.save()


def ask(cluster: Cluster, name: str, by: User | None = None) -> None:
    services.act(actor=actor(by), cluster=cluster, action=ACTIONS[name])


def standing(budget: Budget, clock: Clock) -> Standing:
    row = Budget.objects.get(pk=budget.pk)
    return standings([row], month_of(clock.at), clock.at)[budget.pk]


def figures(budget: Budget, clock: Clock) -> tuple[Decimal | int, Decimal | int]:
    """Spent and held, to the cent."""
    now = standing(budget, clock)
    return round(now.spent, 2), round(now.held, 2)


def hold_of(cluster: Cluster) -> SpendHold:
    return SpendHold.objects.active().get(cluster=cluster)
