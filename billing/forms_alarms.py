"""Forms of usage alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from accounts.forms import NameField
from accounts.forms_invitations import AddressesField
from billing.alarms import PERIOD_MINUTES, PERIODS

HIGHEST = 1_000_000
"""vCPUs that a threshold can have; more are in no account."""


def _span(minutes: int) -> str:
    return f"{minutes} minutes" if minutes < 60 else f"{minutes // 60} hour{'s' if minutes > 60 else ''}"


class AlarmEditForm(forms.Form):
    """What of an alarm can be changed."""

    name = NameField(label="Alarm name")
    threshold = forms.IntegerField(label="Threshold (vCPUs)", min_value=0, max_value=HIGHEST)
    period_minutes = forms.TypedChoiceField(
        label="Period",
        coerce=int,
        choices=[(minutes, _span(minutes)) for minutes in PERIODS],
        initial=PERIOD_MINUTES,
        help_text="The alarm goes off when more than the threshold is in use for as long.",
    )


class EndpointsForm(forms.Form):
    """More e-mail endpoints."""

    emails = AddressesField(
        label="E-mail endpoints",
        help_text="One or several, separated by commas or line breaks. Each gets a mail with a link to confirm.",
    )


class AlarmForm(AlarmEditForm):
    """A new alarm, filled in with the guide's defaults."""

    topic = forms.RegexField(
        r"^[A-Za-z0-9_-]{1,256}$",
        label="Topic name",
        max_length=256,
        help_text="The list of endpoints that the alarm tells. It begins the subject of its mails.",
        error_messages={"invalid": "Use the letters a to z, digits, hyphens and underscores only."},
    )
    emails = AddressesField(
        label="E-mail endpoints",
        help_text="Who is told: one or several addresses, separated by commas or line breaks. Each gets a mail with a "
        "link, and is told nothing before it has confirmed.",
    )

    existing_topic = forms.ChoiceField(
        label="Topic",
        required=False,
        help_text="With one that is there, the alarm tells whoever subscribed to it in AWS.",
    )

    def __init__(self, *args: Any, reason: str, topics: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["threshold"].help_text = reason
        existing = self.fields["existing_topic"]
        assert isinstance(existing, forms.ChoiceField)
        existing.choices = [("", "A new one, as below"), *((arn, arn) for arn in topics)]
        self.order_fields(["name", "threshold", "period_minutes", "existing_topic", "topic", "emails"])
        if not topics:
            del self.fields["existing_topic"]
        elif self.data.get("existing_topic") in topics:
            for name in ("topic", "emails"):  # what stands in the fields of a new one does not count then
                self.fields[name] = forms.CharField(required=False, label=self.fields[name].label)

    def clean(self) -> dict[str, Any]:
        """A topic that is there takes the place of name and endpoints of a new one."""
        values = super().clean() or self.cleaned_data
        existing = values.pop("existing_topic", "")
        return {**values, "topic": existing, "emails": []} if existing else values
