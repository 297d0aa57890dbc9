"""Forms of an organization's settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import NameField
from accounts.models import Organization


class RenameForm(forms.Form):
    """What of an organization can be changed."""

    name = NameField(label="Organization name", help_text="Unique in this portal.")


class DeleteForm(forms.Form):
    """The name, typed, so that nobody deletes another organization than they think."""

    name = forms.CharField(
        label="Name of the organization", strip=True, widget=forms.TextInput({"autocomplete": "off"})
    )

    def __init__(self, *args: Any, organization: Organization, **options: Any) -> None:
        super().__init__(*args, **options)
        self.organization = organization

    def clean_name(self) -> str:
        """It must be the very name."""
        if self.cleaned_data["name"] != self.organization.name:
            raise ValidationError(f"Type {self.organization.name} to delete it.", code="other_name")
        return self.organization.name
