"""Forms of budgets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms

from accounts.models import Organization, User
from billing.models import Budget
from workspaces.models import Workspace

MOST = Decimal(1_000_000_000)
"""US dollars: above this an amount is taken for a slip."""


class MoneyField(forms.DecimalField):
    """US dollars, to the cent, above zero."""

    def __init__(self, **options: Any) -> None:
        widget = forms.NumberInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
        limits = {"min_value": Decimal("0.01"), "max_value": MOST, "max_digits": 12, "decimal_places": 2}
        super().__init__(**{"widget": widget, **limits, **options})


class BudgetForm(forms.Form):
    """What of a budget can be changed."""

    limit = MoneyField(label="Limit in USD", help_text="For each calendar month (UTC).")
    warn_percent = forms.IntegerField(
        min_value=1, max_value=100, initial=80, label="Warn at", help_text="Percent of the limit that are spent."
    )
    reserve_hours = forms.IntegerField(
        min_value=1,
        max_value=744,
        initial=8,
        label="Hours set aside",
        help_text="At a launch, for a cluster without a maximum lifetime. Renewed hour by hour while there is room.",
    )
    pauses = forms.BooleanField(
        required=False,
        initial=True,
        label="Pause clusters when nothing is left",
        help_text="They are announced 15 minutes before. A job that is under way on one is cancelled.",
    )


class NewBudgetForm(BudgetForm):
    """A budget, and whose it is: everything an organization spends, a workspace, or a person."""

    scope = forms.ChoiceField(label="Of")
    field_order = ("scope",)

    def __init__(self, *args: Any, organization: Organization, **options: Any) -> None:
        super().__init__(*args, **options)
        taken: set[tuple[object, object]] = set(
            Budget.objects.in_organization(organization).values_list("workspace_id", "user_id")
        )
        places = Workspace.objects.in_organization(organization).order_by("name")
        people = User.objects.filter(memberships__organization=organization).order_by("first_name", "last_name", "pk")
        self.workspaces = {f"workspace:{row.pk}": row for row in places if (row.pk, None) not in taken}
        self.people = {f"user:{row.pk}": row for row in people if (None, row.pk) not in taken}
        whole = [("organization", f"Everything in {organization}")] if (None, None) not in taken else []
        field = self.fields["scope"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *whole,
            ("Workspaces", [(key, row.name) for key, row in self.workspaces.items()]),
            ("People, for the clusters they make", [(key, f"{row} ({row.email})") for key, row in self.people.items()]),
        ]
        field.choices = [choice for choice in field.choices if choice[1]]

    def given(self) -> dict[str, Any]:
        """What ``create_budget`` takes."""
        values = dict(self.cleaned_data)
        scope = values.pop("scope")
        return {**values, "workspace": self.workspaces.get(scope), "user": self.people.get(scope)}


class LiftForm(forms.Form):
    """An owner's leave to spend more."""

    kind = forms.ChoiceField(
        label="Until the end of this month",
        choices=[("extra", "A certain amount more"), ("lifted", "Without a limit")],
        initial="extra",
        widget=forms.RadioSelect,
    )
    extra = MoneyField(label="More, in USD", required=False)
    reason = forms.CharField(
        max_length=500, label="Reason", help_text="Kept in the audit log and on the budget's page."
    )

    def clean(self) -> dict[str, Any]:
        """An amount where one is needed."""
        cleaned = super().clean() or {}
        if cleaned.get("kind") == "extra" and not cleaned.get("extra") and "extra" not in self.errors:
            self.add_error("extra", "Say how much more.")
        if cleaned.get("kind") == "lifted":
            cleaned["extra"] = None
        return cleaned
