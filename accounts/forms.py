"""Forms of the accounts app."""

from __future__ import annotations

import unicodedata

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts import services
from accounts.models import Organization, User
from portal.errors import client_address

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


class SignupDetails(forms.Form):
    """What we ask beside e-mail and password; allauth mixes it into its own sign-up form."""

    first_name = NameField(label="First name")
    last_name = NameField(label="Last name")
    organization = NameField(
        label="Organization name", help_text="Your own account? Use a unique name such as firstname_lastname."
    )
    accept_terms = forms.BooleanField(label="I accept the terms and conditions")

    field_order = ["organization", "first_name", "last_name", "email", "password1", "accept_terms"]

    def clean_organization(self) -> str:
        """The name must be free."""
        name: str = self.cleaned_data["organization"]
        if Organization.objects.named(name).exists():
            raise ValidationError("An organization of this name exists. Choose another name.", code="taken")
        return name

    def signup(self, request: HttpRequest, user: User) -> None:
        """Called by allauth once the user is saved."""
        user.first_name = self.cleaned_data["first_name"]
        user.last_name = self.cleaned_data["last_name"]
        user.save(update_fields=["first_name", "last_name"])
        services.sign_up(
            user=user, organization_name=self.cleaned_data["organization"], address=client_address(request)
        )


class OrganizationForm(forms.Form):
    """A new organization for somebody who has signed in."""

    name = NameField(label="Organization name", help_text="The tenant for billing and cloud resources.")
