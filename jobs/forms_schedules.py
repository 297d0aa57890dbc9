"""The form of a schedule, with its next fires as they would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone as clock

from accounts.forms import NameField
from jobs import cron
from jobs.cron import Fire
from jobs.forms import PlainSelect
from jobs.models import CatchUp, JobTemplate
from portal.errors import UserError
from workspaces.models import Workspace


class ScheduleForm(forms.Form):
    """When a template runs by itself."""

    name = NameField(label="Name")
    description = forms.CharField(max_length=1000, required=False, label="Description")
    template = forms.ModelChoiceField(JobTemplate.objects.none(), label="Template", empty_label="Choose a template")
    cron = forms.CharField(
        max_length=200,
        label="Cron expression",
        help_text="Minute, hour, day of the month, month, day of the week: 30 2 * * MON-FRI is 2:30 on workdays.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "30 2 * * *"}),
    )
    timezone = forms.ChoiceField(label="Time zone", initial="UTC", widget=PlainSelect)
    max_concurrent = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=1,
        label="Runs at the same time",
        help_text="A fire is left out, and that is recorded, while so many of its runs are under way.",
    )
    catch_up = forms.ChoiceField(
        choices=CatchUp.choices, initial=CatchUp.NONE, label="After the portal was away", widget=forms.RadioSelect
    )
    enabled = forms.BooleanField(required=False, initial=True, label="Switched on")

    def __init__(self, *args: Any, workspace: Workspace, **options: Any) -> None:
        super().__init__(*args, **options)
        template, zone = self.fields["template"], self.fields["timezone"]
        assert isinstance(template, forms.ModelChoiceField)
        assert isinstance(zone, forms.ChoiceField)
        template.queryset = JobTemplate.objects.in_workspace(workspace).order_by("name")
        zone.choices = [(name, name.replace("_", " ")) for name in cron.time_zones()]

    def clean_cron(self) -> str:
        """Five fields."""
        try:
            return cron.check(self.cleaned_data["cron"])
        except UserError as error:
            raise ValidationError(f"{error.message} {error.hint}", code=error.code) from None

    def ahead(self) -> list[Fire]:
        """The next fires of what is in the form; none where it is wrong."""
        values: Mapping[str, Any] = getattr(self, "cleaned_data", {}) if self.is_bound else self.initial
        if not values.get("cron") or not values.get("timezone"):
            return []
        return cron.preview(values["cron"], values["timezone"], clock.now())
