"""Second factors: who has one, and how allauth keeps them."""

from __future__ import annotations

from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef, QuerySet

from accounts.models import User
from portal.crypto import seal, unseal

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What counts as one. Recovery codes stand in for a lost one and are nothing by themselves."""


def has_second_factor(user: User) -> bool:
    """Whether a sign-in of this person asks for more than a password."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def without_second_factor(users: QuerySet[User]) -> QuerySet[User]:
    """Those of whom a password alone is asked."""
    return users.exclude(Exists(Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTORS)))


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets are sealed at rest; authenticators show the name of the platform."""

    def encrypt(self, text: str) -> str:
        """Seal the secret of an app or the seed of recovery codes."""
        return seal({"text": text})

    def decrypt(self, encrypted_text: str) -> str:
        """What ``encrypt`` was given."""
        return unseal(encrypted_text)["text"]

    def get_totp_issuer(self) -> str:
        """What an authenticator app shows above the code."""
        return "Bodo Cloud Platform"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """For whom a passkey is: browsers bind it to this host name."""
        return {"id": context.request.get_host().partition(":")[0], "name": "Bodo Cloud Platform"}

    def generate_authenticator_name(self, user: User, type: str) -> str:
        """A name to begin with."""
        count = Authenticator.objects.filter(user=user, type=type).count()
        return f"Passkey {count + 1}" if count else "Passkey"
