"""Forms of the accounts app."""

from __future__ import annotations

import unicodedata

from django import forms
from django.core.exceptions import ValidationError

_DECEIVING = frozenset("\u200b\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that nobody sees, or that turn the text around them: two names could look the same. Joiners are not among
them, because Persian, Hindi and emoji need them."""

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that look like nothing."""


def clean_name(name: str) -> str:
    """A name as people type it, in any script, without control characters and doubled spaces.

    Raises ValidationError. Used for every name a person gives, in all apps.
    """
    name = unicodedata.normalize("NFC", name)
    categories = {unicodedata.category(character) for character in name}
    if categories & {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} or _DECEIVING & set(name):
        raise ValidationError("Use letters, digits, spaces and punctuation only.", code="control_characters")
    name = " ".join(name.split())
    if all(unicodedata.category(character)[0] in "CMZ" or character in _BLANK for character in name):
        raise ValidationError("Enter a name.", code="required")
    return name


class NameField(forms.CharField):
    """A name of at most 100 characters in any script."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"max_length": 100, **options})  # type: ignore[arg-type]

    def clean(self, value: object) -> str:
        """Normalise what was typed."""
        text: str = super().clean(value)
        if not text:
            return text
        name = clean_name(text)
        self.run_validators(name)  # normalising can make it longer
        return name


class OrganizationForm(forms.Form):
    """A new organization for somebody who has signed in."""

    name = NameField(label="Organization name", help_text="The tenant for billing and cloud resources.")
