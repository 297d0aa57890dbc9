"""Forms of single sign-on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from accounts import sso
from accounts.addresses import normal_email


class EmailForm(forms.Form):
    """Who wants to sign in: the domain says through which provider."""

    email = forms.EmailField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True})
    )

    def clean_email(self) -> str:
        """In its one spelling."""
        return normal_email(self.cleaned_data["email"])


class ProviderForm(forms.Form):
    """The provider, as its own pages name these."""

    issuer = forms.CharField(
        label="Issuer",
        max_length=500,
        help_text="Such as https://login.example.org. Its configuration is read from there.",
    )
    client_id = forms.CharField(label="Client ID", max_length=255)
    client_secret = forms.CharField(
        label="Client secret",
        max_length=1000,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted and never shown again.",
    )

    def __init__(self, *args: Any, kept: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        if kept:
            self.fields["client_secret"].help_text += " Leave it empty to keep the one there is."

    def clean_issuer(self) -> str:
        """An address, and nothing that only looks like one."""
        issuer: str = self.cleaned_data["issuer"]
        try:
            found = urlsplit(issuer)
            port = found.port
        except ValueError:
            raise ValidationError("Enter an address.", code="invalid") from None
        schemes = {"https", "http"} if settings.PORTAL_PRIVATE_ADDRESSES else {"https"}
        if found.scheme not in schemes or not found.hostname or port == 0 or not issuer.isprintable() or " " in issuer:
            raise ValidationError("Enter an address that begins with https://.", code="invalid")
        if found.username is not None or found.password is not None or found.query or found.fragment:
            raise ValidationError("Enter it without a name, a question mark or a hash.", code="invalid")
        return issuer


class DomainForm(forms.Form):
    """A domain to speak for."""

    domain = forms.CharField(
        label="Domain", max_length=255, widget=forms.TextInput(attrs={"placeholder": "example.org"})
    )

    def clean_domain(self) -> str:
        """In ASCII, and not one where everybody may have an address."""
        return sso.clean_domain(self.cleaned_data["domain"])


class PolicyForm(forms.Form):
    """Who may, and who must."""

    enabled = forms.BooleanField(
        label="People may sign in with single sign-on",
        required=False,
        help_text="Those with an address in an approved domain.",
    )
    joins = forms.BooleanField(
        label="Newcomers become members",
        required=False,
        help_text="With the role Member, when they first sign in. Without this, they need an invitation first.",
    )
    enforced = forms.BooleanField(
        label="Members of these domains sign in no other way",
        required=False,
        help_text="Their passwords and passkeys are refused. Owners may still use theirs, so that somebody can come in "
        "when the provider is down.",
    )
