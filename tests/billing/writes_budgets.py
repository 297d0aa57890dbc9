"""Each write to budgets as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing import services_budgets as budgets
from billing.budgets import month_of
from billing.models import Budget, BudgetOverride
from tests.pages.world import Tenants


def _lifted(budget: Budget) -> Budget:
    BudgetOverride.objects.create(budget=budget, month=month_of(timezone.now()).first, reason="x", given_by="y")
    return budget


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "billing.services_budgets.create_budget": (
        "budget.create",
        lambda t, by: budgets.create_budget(**by, organization=t.acme, limit=Decimal(10), user=t.people["developer"]),
    ),
    "billing.services_budgets.update_budget": (
        "budget.update",
        lambda t, by: budgets.update_budget(**by, budget=t.budget_of(t.acme), limit=Decimal(20)),
    ),
    "billing.services_budgets.delete_budget": (
        "budget.delete",
        lambda t, by: budgets.delete_budget(**by, budget=t.budget_of(t.acme)),
    ),
    "billing.services_budgets.lift_budget": (
        "budget.lift",
        lambda t, by: budgets.lift_budget(**by, budget=t.budget_of(t.acme), extra=None, reason="Quarter end"),
    ),
    "billing.services_budgets.end_lift": (
        "budget.end_lift",
        lambda t, by: budgets.end_lift(**by, budget=_lifted(t.budget_of(t.acme))),
    ),
}
MAKES_ITS_OWN = ("end_lift",)
