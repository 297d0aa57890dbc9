"""Every write that people make on budgets. Who may is asked again here, under the lock of the roles."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import Perm
from accounts.standing import demand, lock_roles
from billing import holds
from billing.budgets import month_of
from billing.models import Budget, BudgetOverride
from portal.errors import UserError
from workspaces.models import Workspace

FIELDS = ("limit", "warn_percent", "pauses", "reserve_hours")


@transaction.atomic
def create_budget(
    *,
    actor: Actor,
    organization: Organization,
    limit: Decimal,
    workspace: Workspace | None = None,
    user: User | None = None,
    warn_percent: int = 80,
    pauses: bool = True,
    reserve_hours: int = 8,
) -> Budget:
    """A budget of the organization, one of its workspaces or one of its people. What runs already is taken into it.

    Raises PermissionNeededError, UserError(BudgetExists, ScopeGone).
    """
    place = lock_roles(organization)
    demand(actor, Perm.BILLING_MANAGE, place)
    if workspace and not Workspace.objects.in_organization(place).filter(pk=workspace.pk).exists():
        raise UserError("ScopeGone", "The workspace is gone.", "Choose another one.")
    if user and not Membership.objects.in_organization(place).filter(user=user).exists():
        raise UserError("ScopeGone", f"{user} is not in the organization any more.", "Choose somebody else.")
    budget = Budget(organization=place, workspace=workspace, user=user, limit=limit)
    budget.warn_percent, budget.pauses, budget.reserve_hours = warn_percent, pauses, reserve_hours
    try:
        with transaction.atomic():
            budget.save(force_insert=True)
    except IntegrityError:
        raise UserError("BudgetExists", f"There is a budget of {budget} already.", "Change that one.") from None
    _record(actor, "budget.create", budget, after=_fields(budget))
    transaction.on_commit(lambda: holds.repair(place))  # clusters are locked before budgets
    return budget


@transaction.atomic
def update_budget(*, actor: Actor, budget: Budget, **changes: Any) -> None:
    """Change some of ``FIELDS``. Raises PermissionNeededError, UserError(BudgetGone)."""
    row = _locked(actor, budget, Perm.BILLING_MANAGE)
    before = _fields(row)
    for name in FIELDS:
        setattr(row, name, changes.get(name, getattr(row, name)))
    if _fields(row) == before:
        return
    row.save(update_fields=FIELDS)
    _record(actor, "budget.update", row, before=before, after=_fields(row))


@transaction.atomic
def delete_budget(*, actor: Actor, budget: Budget) -> None:
    """Remove a budget, and what was told of it. Raises PermissionNeededError, UserError(BudgetGone)."""
    row = _locked(actor, budget, Perm.BILLING_MANAGE)
    organization = row.organization
    _record(actor, "budget.delete", row, before=_fields(row))
    row.delete()
    transaction.on_commit(lambda: holds.repair(organization))


@transaction.atomic
def lift_budget(*, actor: Actor, budget: Budget, extra: Decimal | None, reason: str) -> BudgetOverride:
    """Let ``extra`` US dollars more be spent until the month ends, or anything (None); an owner alone can.

    Raises PermissionNeededError, UserError(BudgetGone, LiftedAlready).
    """
    row = _locked(actor, budget, Perm.BUDGET_LIFT)
    month = month_of(timezone.now())
    if BudgetOverride.objects.filter(budget=row, month=month.first, ended_at=None).exists():
        raise UserError(
            "LiftedAlready", f"The budget of {row} is lifted already.", "End that first, on the budget's page."
        )
    override = BudgetOverride.objects.create(
        budget=row, month=month.first, extra=extra, reason=reason, given_by=actor.label
    )
    _record(actor, "budget.lift", row, month=str(month), extra=str(extra or "no limit"), reason=reason)
    return override


@transaction.atomic
def end_lift(*, actor: Actor, budget: Budget) -> None:
    """Let the budget's own limit hold again. Raises PermissionNeededError, UserError(BudgetGone, NotLifted)."""
    row = _locked(actor, budget, Perm.BUDGET_LIFT)
    month = month_of(timezone.now())
    ended = BudgetOverride.objects.filter(budget=row, month=month.first, ended_at=None)
    if not ended.update(ended_at=timezone.now(), ended_by=actor.label):
        raise UserError("NotLifted", f"The budget of {row} is not lifted.", "Its limit holds.")
    _record(actor, "budget.end_lift", row, month=str(month))


def _locked(actor: Actor, budget: Budget, perm: Perm) -> Budget:
    place = lock_roles(budget.organization)
    demand(actor, perm, place)
    rows = Budget.objects.in_organization(place).select_related("organization", "workspace", "user")
    row = rows.select_for_update(of=("self",)).filter(pk=budget.pk).first()
    if row is None:
        raise UserError("BudgetGone", "The budget was removed meanwhile.", "See the list of budgets.", status=404)
    return row


def _fields(budget: Budget) -> dict[str, Any]:
    return {name: str(value) if isinstance(value := getattr(budget, name), Decimal) else value for name in FIELDS}


def _record(actor: Actor, verb: str, budget: Budget, **detail: Any) -> None:
    scope: dict[str, Any] = {}
    if budget.workspace:
        scope["workspace"] = budget.workspace.name
    if budget.user:
        scope["person"] = budget.user.email
    audit.record(actor, verb, budget, organization=budget.organization, **scope, **detail)
