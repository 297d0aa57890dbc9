"""allauth's forms for codes and passkeys, with what they do not look at."""

from __future__ import annotations

import json
import struct
from typing import Any

from allauth.mfa import app_settings
from allauth.mfa.base import forms as codes
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import forms as passkeys
from django import forms
from django.core.cache import cache
from django.core.exceptions import ValidationError

from accounts.forms import NameField

NAME = {"label": "Name", "help_text": "So that you know it again, such as “Work laptop” or “Blue key”."}


class _CodeOnce:
    """A code of an app is taken once. allauth forgets used ones after 30 s; with its tolerance they live longer."""

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]
        authenticator: Authenticator = self.authenticator  # type: ignore[attr-defined]
        lifetime = app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1)
        key = f"second-factor:{authenticator.user_id}:{''.join(filter(str.isdigit, code))}"
        if authenticator.type == Authenticator.Type.TOTP and not cache.add(key, 1, lifetime):
            raise _incorrect()
        return code


class AuthenticateForm(_CodeOnce, codes.AuthenticateForm):  # type: ignore[misc]
    """The code at sign-in."""


class ReauthenticateForm(_CodeOnce, codes.ReauthenticateForm):  # type: ignore[misc]
    """The code before something delicate."""


class CredentialField(forms.JSONField):
    """What a browser says of a passkey: some kilobytes of JSON, not nested deeply."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        """Read it."""
        try:
            return super().to_python(value)
        except RecursionError:
            raise _incorrect() from None

    def bound_data(self, data: Any, initial: Any) -> None:
        """Nothing of it is shown again: it is good for one challenge."""

    def prepare_value(self, value: Any) -> str:
        """The scripts fill the empty field."""
        return ""


class _AnyCredential(forms.Form):
    """What is sent may be JSON of any shape, and fido2 trusts the shape."""

    credential = CredentialField()

    def clean_credential(self) -> Any:
        sent = self.cleaned_data["credential"]
        if not isinstance(sent, dict) or "\\u0000" in json.dumps(sent):  # PostgreSQL stores no NUL
            raise _incorrect()
        earlier = getattr(super(), "clean_credential", None)
        return _carefully(earlier) if earlier else sent


class SignInWithPasskeyForm(_AnyCredential, passkeys.LoginWebAuthnForm):  # type: ignore[misc]
    """A passkey in the place of a password."""


class AuthenticateWithPasskeyForm(_AnyCredential, passkeys.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey after the password."""


class ReauthenticateWithPasskeyForm(_AnyCredential, passkeys.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey before something delicate."""


class AddPasskeyForm(_AnyCredential, passkeys.AddWebAuthnForm):  # type: ignore[misc]
    """A new passkey."""

    name = NameField(required=False, **NAME)
    passwordless = forms.BooleanField(
        label="Sign in with it alone, without the password",
        required=False,
        initial=True,
        help_text="The device then asks for your fingerprint, face or PIN. Older security keys cannot do that.",
    )

    def clean(self) -> Any:
        """Check what the device signed."""
        return _carefully(super().clean)


class RenamePasskeyForm(passkeys.EditWebAuthnForm):  # type: ignore[misc]
    """Another name for a passkey."""

    name = NameField(**NAME)


def _carefully(check: Any) -> Any:
    try:
        return check()
    except ValidationError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, struct.error):
        raise _incorrect() from None


def _incorrect() -> ValidationError:
    return ValidationError("That did not work. Try again.", code="incorrect_code")
