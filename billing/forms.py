"""Forms of the billing pages."""

from __future__ import annotations

from typing import Any

from django import forms

from portal.export import FORMATS

LONGEST = 366 * 5
"""Days of one export."""

YEARS = range(2000, 3000)
"""Within which days are taken; the calendar of computers ends later, and nothing is charged before."""


class ExportForm(forms.Form):
    """Which days of usage to take away; both are included."""

    first = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}))
    last = forms.DateField(label="to", widget=forms.DateInput(attrs={"type": "date"}))
    format = forms.ChoiceField(choices=[(name, name) for name in FORMATS], required=False)

    def clean(self) -> dict[str, Any]:
        """In their order, and not without end."""
        cleaned = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if any(day and day.year not in YEARS for day in (first, last)):
            raise forms.ValidationError("The years are from 2000 to 2999.")
        if first and last and first > last:
            raise forms.ValidationError("The first day has to be before the last one.")
        if first and last and (last - first).days > LONGEST:
            raise forms.ValidationError("At most five years at once.")
        return cleaned

    def clean_format(self) -> str:
        """CSV where none is named."""
        return self.cleaned_data["format"] or "csv"
