"""The sign-up form as a whole: allauth's, with ours mixed in, saved whole or not at all.

Apart from ``accounts.forms`` because allauth's forms import that while they load.
"""

from __future__ import annotations

from typing import Any

from allauth.account import forms
from django.core.validators import MaxLengthValidator
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts.models import User

EMAIL_LENGTH = User._meta.get_field("email").max_length or 254


class SignupForm(forms.SignupForm):  # type: ignore[misc]
    """A user, their address, their organization and the audit events, in one transaction."""

    def clean_email(self) -> str:
        """allauth would cut a longer address to what its column holds, and so make an account with another one."""
        email: str = super().clean_email()
        MaxLengthValidator(EMAIL_LENGTH)(email)
        return email

    @transaction.atomic
    def save(self, request: HttpRequest) -> Any:
        """The user with all that belongs to them."""
        return super().save(request)

    def try_save(self, request: HttpRequest) -> Any:
        """As allauth does; the second of two equal forms sent at once finds an existing account."""
        try:
            return super().try_save(request)
        except IntegrityError:
            if not User.objects.filter(email__iexact=self.cleaned_data["email"]).exists():
                raise
            self.account_already_exists = True
            return super().try_save(request)
