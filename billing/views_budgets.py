"""The pages of budgets: how they stand, what is set aside, and what was given more."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from billing import services_budgets
from billing.budgets import budgets_of, month_of, set_aside, standings
from billing.forms_budgets import BudgetForm, LiftForm, NewBudgetForm
from billing.models import Budget, BudgetNotice, NoticeStep, SpendHold
from portal.errors import UserError
from portal.forms import done, form_response, posted

SHOWN = 100
"""Lines of the lists on a budget's page."""


def find(organization: Organization, budget: UUID) -> Budget:
    """A budget of this organization; 404 for any other."""
    rows = Budget.objects.in_organization(organization).select_related("organization", "workspace", "user")
    return get_object_or_404(rows, pk=budget)


@organization_view(Perm.USAGE_VIEW)
def budgets(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """All budgets, and how they stand this month."""
    now = timezone.now()
    rows = budgets_of(organization)
    found = standings(rows, month_of(now), now)
    told = BudgetNotice.objects.filter(budget__organization=organization, step=NoticeStep.PAUSE)
    coming = set(told.filter(withdrawn_at=None, acted_at=None).values_list("budget_id", flat=True))
    context = {
        "nav": "billing",
        "tab": "budgets",
        "month": month_of(now),
        "standings": [found[row.pk] for row in rows],
        "coming": coming,
    }
    return render(request, "billing/budgets.html", context)


@organization_view(Perm.USAGE_VIEW)
def budget(request: OrganizationRequest, organization: Organization, budget: UUID) -> HttpResponse:
    """One budget: its figures, what is set aside for which cluster, what people were told, what owners gave more."""
    row = find(organization, budget)
    now = timezone.now()
    month = month_of(now)
    held = SpendHold.objects.of(row).active().select_related("cluster", "workspace").order_by("-created_at")
    told = row.notices.select_related("hold__cluster").order_by("-pk")
    context = {
        "nav": "billing",
        "tab": "budgets",
        "month": month,
        "standing": standings([row], month, now)[row.pk],
        "budget": row,
        "holds": [{"row": hold, "amount": set_aside(hold, month, now)} for hold in held[:SHOWN]],
        "hold_count": held.count(),
        "notices": told[:SHOWN],
        "overrides": row.overrides.order_by("-pk")[:SHOWN],
    }
    return render(request, "billing/budget.html", context)


@organization_view(Perm.BILLING_MANAGE, ("GET", "HEAD", "POST"))
def new(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Make a budget."""
    form = NewBudgetForm(posted(request), organization=organization)
    if request.method == "POST" and form.is_valid():
        try:
            made = services_budgets.create_budget(actor=actor_of(request), organization=organization, **form.given())
            return done(request, "billing:budget", organization.pk, made.pk)
        except UserError as error:
            form.add_error("scope", f"{error.message} {error.hint}".strip())
    return form_response(request, "billing/budget_form.html", form, nav="billing", tab="budgets")


@organization_view(Perm.BILLING_MANAGE, ("GET", "HEAD", "POST"))
def edit(request: OrganizationRequest, organization: Organization, budget: UUID) -> HttpResponse:
    """Change a budget."""
    row = find(organization, budget)
    initial = {name: getattr(row, name) for name in services_budgets.FIELDS}
    form = BudgetForm(posted(request), initial=initial)
    if request.method == "POST" and form.is_valid():
        services_budgets.update_budget(actor=actor_of(request), budget=row, **form.cleaned_data)
        messages.success(request, "Saved.")
        return done(request, "billing:budget", organization.pk, row.pk)
    return form_response(request, "billing/budget_form.html", form, nav="billing", tab="budgets", budget=row)


@organization_view(Perm.BILLING_MANAGE, ("POST",))
def delete(request: OrganizationRequest, organization: Organization, budget: UUID) -> HttpResponse:
    """Remove a budget."""
    row = find(organization, budget)
    services_budgets.delete_budget(actor=actor_of(request), budget=row)
    messages.success(request, f"The budget of {row} was removed.")
    return done(request, "billing:budgets", organization.pk)


@organization_view(Perm.BUDGET_LIFT, ("GET", "HEAD", "POST"))
def lift(request: OrganizationRequest, organization: Organization, budget: UUID) -> HttpResponse:
    """Let more be spent this month."""
    row = find(organization, budget)
    form = LiftForm(posted(request))
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            services_budgets.lift_budget(
                actor=actor_of(request), budget=row, extra=values["extra"], reason=values["reason"]
            )
            return done(request, "billing:budget", organization.pk, row.pk)
        except UserError as error:
            form.add_error(None, f"{error.message} {error.hint}".strip())
    context = {"nav": "billing", "tab": "budgets", "budget": row, "month": month_of(timezone.now())}
    return form_response(request, "billing/budget_lift.html", form, **context)


@organization_view(Perm.BUDGET_LIFT, ("POST",))
def end_lift(request: OrganizationRequest, organization: Organization, budget: UUID) -> HttpResponse:
    """Let the limit hold again."""
    row = find(organization, budget)
    services_budgets.end_lift(actor=actor_of(request), budget=row)
    messages.success(request, "The limit holds again.")
    return done(request, "billing:budget", organization.pk, row.pk)
