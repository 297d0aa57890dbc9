"""Forms of invitations, for those who send them and for those who get them."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.fields import SetPasswordField
from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import NameField
from accounts.forms_people import grantable
from accounts.look_alikes import clean_typed, split
from accounts.models import User
from accounts.permissions import OrganizationRole, Perm

MOST = 50
"""Addresses in one form."""


class AddressesField(forms.CharField):
    """Several e-mail addresses, each cleaned by ``accounts.look_alikes``; every wrong one is named."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{
                "label": "E-mail addresses",
                "help_text": f"One or several, up to {MOST}: separated by commas, spaces or line breaks.",
                "max_length": 20_000,
                "widget": forms.Textarea({"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
                **options,
            }
        )

    def clean(self, value: Any) -> list[str]:
        """The addresses as typed, once each."""
        written = split(super().clean(value))
        if not written:
            raise ValidationError("Enter an e-mail address.", code="required")
        if len(written) > MOST:
            raise ValidationError(f"These are {len(written)} addresses. Send {MOST} at a time.", code="too_many")
        found: dict[str, None] = {}
        wrong = []
        for address in written:
            try:
                found[clean_typed(address)] = None
            except ValidationError as error:
                wrong.append(error)
        if wrong:
            raise ValidationError(wrong)
        return list(found)


class InviteForm(forms.Form):
    """Whom to invite to an organization, and as what."""

    emails = AddressesField()
    role = forms.TypedChoiceField(label="Role", coerce=OrganizationRole, initial=OrganizationRole.MEMBER)

    def __init__(self, *args: Any, permissions: frozenset[Perm], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(role.value, role.label) for role in reversed(grantable(permissions))]


class InvitationFilter(forms.Form):
    """Which invitations a list shows."""

    q = forms.CharField(required=False, max_length=254)


class JoinForm(forms.Form):
    """An account for somebody who was invited; the address is the one that the link proves."""

    first_name = NameField(label="First name")
    last_name = NameField(label="Last name")
    password = SetPasswordField(label="Password")
    accept_terms = forms.BooleanField(label="I accept the terms and conditions")

    def __init__(self, *args: Any, email: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.email = email

    def clean(self) -> dict[str, Any]:
        """The password must not be like the person."""
        values = super().clean() or self.cleaned_data
        if "password" in values:
            names = {name: values.get(name, "") for name in ("first_name", "last_name")}
            try:
                get_adapter().clean_password(values["password"], User(email=self.email, **names))
            except ValidationError as error:
                self.add_error("password", error)
        return values
