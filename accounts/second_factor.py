"""Second factors: who has one, and how allauth keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest

from accounts import impersonation, sso
from accounts.models import Organization, User
from portal.crypto import seal, unseal
from portal.errors import UserError

WAY_BACK = "second_factor_for"
"""Key of the session: the page that somebody could not enter for want of a second factor."""

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What counts as one. Recovery codes stand in for a lost one and are nothing by themselves."""

_HAS_ONE = Exists(Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTORS))


def has_second_factor(user: User) -> bool:
    """Whether a sign-in of this person asks for more than a password."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def is_last_factor(user: User) -> bool:
    """Whether one is left, and no more."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).count() == 1)


def without_second_factor(users: QuerySet[User]) -> QuerySet[User]:
    """Those of whom a password alone is asked."""
    return users.exclude(_HAS_ONE)


class SecondFactorNeededError(UserError):
    """An organization lets nobody in who could sign in with a password alone."""

    def __init__(self, organization: Organization) -> None:
        super().__init__(
            "SecondFactorNeeded",
            f"{organization} asks for a second factor, and you have none yet.",
            "Add a passkey or set up an authenticator app under “Sign-in and security”.",
            status=403,
        )
        self.organization = organization


def demand_second_factor(request: HttpRequest, organization: Organization) -> None:
    """Raise SecondFactorNeededError where the organization asks for one and the sender of a request has none.

    Who came through the organization's own provider is not asked: that one sees to it. Nor are staff who act as a
    person: they have signed in as themselves.
    """
    if not organization.require_second_factor or impersonation.SESSION_KEY in request.session:
        return
    assert isinstance(request.user, User)
    if not (sso.signed_in_through(request, organization) or has_second_factor(request.user)):
        raise SecondFactorNeededError(organization)
    request.session.pop(WAY_BACK, None)


@dataclass(frozen=True)
class Standing:
    """How many of an organization's people there are, and who of them has no second factor (the first few by name)."""

    members: int
    without: int
    names: list[str]


def standing_of(organization: Organization) -> Standing:
    """Whom it would keep out to ask for one."""
    members = User.objects.filter(memberships__organization=organization, is_active=True)
    counts = members.aggregate(members=Count("pk"), without=Count("pk", filter=~_HAS_ONE))
    first = without_second_factor(members).order_by("first_name", "last_name", "email")[:5]
    names = [user.get_full_name() for user in first] if counts["without"] else []
    return Standing(counts["members"], counts["without"], names)


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
