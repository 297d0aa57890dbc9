"""Budgets of the museum: of the organization, of a workspace that was told of a pause, and one that is lifted."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from accounts.models import User
from billing import holds
from billing.budgets import month_of
from billing.models import Budget, BudgetNotice, BudgetOverride, SpendHold
from clusters.models import Cluster
from workspaces.models import Workspace


def fill_budgets(owner: User, workspace: Workspace, running: Cluster) -> dict[str, str]:
    """They pause nothing and have room, so that no scheduler changes what the pictures show."""
    organization = workspace.organization
    month = month_of(timezone.now()).first
    Budget.objects.create(organization=organization, limit=Decimal(2500), pauses=False)
    of_lab = Budget.objects.create(organization=organization, workspace=workspace, limit=Decimal(400), pauses=False)
    mine = Budget.objects.create(organization=organization, user=owner, limit=Decimal(100), pauses=False)
    BudgetOverride.objects.create(
        budget=mine, month=month, extra=Decimal(50), reason="Quarter end", given_by=f"{owner} <{owner.email}>"
    )
    holds.repair(organization)
    hold = SpendHold.objects.active().filter(cluster=running).first()
    if hold is not None:
        at = timezone.now() - timedelta(hours=1)
        BudgetNotice.objects.create(
            budget=of_lab, month=month, step="PAUSE", hold=hold, created_at=at, acts_at=at, withdrawn_at=timezone.now()
        )
    return {"budget": str(of_lab.pk), "lifted_budget": str(mine.pk)}
