"""What to look for in the audit log."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from accounts.audit_search import Wanted
from accounts.models.audit import type_in_words

EARLIEST, LATEST = 2000, 2200
"""Years between which times are taken."""


class SearchField(forms.CharField):
    """A text that is looked for; composed as names are when they are kept."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, max_length=200, **options)

    def clean(self, value: object) -> str:
        """The text, in one of the ways to write it."""
        return unicodedata.normalize("NFC", super().clean(value))


class TimeField(forms.DateTimeField):
    """A time by the clock of the form's zone, to the minute or the second."""

    widget = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, **options)

    def clean(self, value: object) -> datetime | None:
        """The time, within what calendars and databases can reckon with."""
        try:
            at: datetime | None = super().clean(value)
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None
        if at is not None and not EARLIEST <= at.year < LATEST:
            raise ValidationError(f"Enter a time between the years {EARLIEST} and {LATEST}.", code="out_of_range")
        return at


class AuditFilter(forms.Form):
    """Filters of the audit log; all of them must fit. ``kinds`` are the pairs of object type and verb in the log.

    Times are by the ``clock`` of the time zone that the page's script adds; by UTC without it.
    """

    q = SearchField(label="Text")
    verb = forms.ChoiceField(label="What", required=False)
    type = forms.ChoiceField(label="Object type", required=False)
    person = SearchField(label="Who")
    object = SearchField(label="Object")
    since = TimeField(label="From")
    until = TimeField(label="To")

    def __init__(self, data: QueryDict, *, kinds: list[tuple[str, str]]) -> None:
        super().__init__(data, auto_id="filter_%s")
        self.clock = _zone(data.get("zone", ""))
        verbs, types = sorted({verb for _, verb in kinds}), sorted({name for name, _ in kinds})
        self.fields["verb"] = _choice("What", "Anything done", [(verb, verb) for verb in verbs])
        self.fields["type"] = _choice(
            "Object type", "Any object type", [(name, type_in_words(name).capitalize()) for name in types]
        )

    def full_clean(self) -> None:
        """Read times by that clock."""
        with timezone.override(self.clock):
            super().full_clean()

    def clean(self) -> dict[str, Any]:
        """The end comes after the beginning."""
        values = super().clean() or self.cleaned_data
        since, until = values.get("since"), values.get("until")
        if since and until and since >= until:
            self.add_error("until", "The end must be after the beginning.")
        return values

    @property
    def wanted(self) -> Wanted:
        """What a valid form asks for."""
        values = self.cleaned_data
        return Wanted(
            text=values["q"],
            person=values["person"],
            object=values["object"],
            object_type=values["type"],
            verb=values["verb"],
            since=values["since"],
            until=values["until"],
        )


def _choice(label: str, everything: str, choices: list[tuple[str, str]]) -> forms.ChoiceField:
    messages = {"invalid_choice": "Nothing of the kind %(value)s is in this log."}
    return forms.ChoiceField(label=label, required=False, choices=[("", everything), *choices], error_messages=messages)


def _zone(name: str) -> ZoneInfo:
    """A time zone by its name; UTC for what is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")
