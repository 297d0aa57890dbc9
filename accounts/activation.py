"""The activation link of a sign-up: its key is signed, so the database holds nothing that would open it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.audit import Actor
from accounts.models import ActorKind, Organization, PendingSignup, User
from portal.errors import UserError

LIFETIME = timedelta(days=7)
"""From signing up to opening the link."""

_signer = signing.Signer(salt="accounts.activation")


def key_of(pending: PendingSignup) -> str:
    """The same each time, so that of two mails either works."""
    return _signer.sign(f"{pending.pk}~{int(pending.created_at.timestamp())}")


def link_to(pending: PendingSignup) -> str:
    """The link for the mail."""
    return settings.SITE_URL + reverse("accounts:activate", args=[key_of(pending)])


def pending_for(key: str, *, lock: bool = False) -> PendingSignup:
    """The sign-up whose activation link has this key; the second of two that lock it waits.

    Raises UserError: ActivationLinkBroken, ActivationLinkExpired, ActivationLinkUsed.
    """
    try:
        pk, _, signed_up = _signer.unsign(key).partition("~")
    except signing.BadSignature:
        raise UserError(
            "ActivationLinkBroken",
            "This link does not work: it is not complete.",
            "The e-mail program may have cut it. Copy the whole link from the e-mail, or have it sent again.",
            status=404,
        ) from None
    rows = PendingSignup.objects.select_related("subscription__organization").filter(pk=pk, user=None)
    pending = (rows.select_for_update(of=("self",)) if lock else rows).first()
    if datetime.fromtimestamp(int(signed_up), UTC) + LIFETIME <= timezone.now():
        raise UserError(
            "ActivationLinkExpired",
            f"This link does not work any more: it was good for {LIFETIME.days} days.",
            "Sign up again. If you came from AWS Marketplace, choose “Set up your account” there again.",
            status=410,
        )
    if pending is None:
        raise UserError(
            "ActivationLinkUsed",
            "This link does not work any more: it was used already.",
            "The account is active. Sign in with your e-mail address and password.",
            status=410,
        )
    return pending


def why_unfinished(pending: PendingSignup) -> str:
    """Why there is no organization although the address is confirmed, for the form that makes it now."""
    subscription, name = pending.subscription, pending.organization_name
    if subscription and subscription.organization:
        return (
            f"The AWS Marketplace subscription of account {subscription.customer} already belongs to the organization "
            f"{subscription.organization}. Ask one of its owners to invite you, or create an organization without it."
        )
    if Organization.objects.named(name).exists():
        return f"The name {name} was taken before your account was activated. Choose another one."
    return "You asked for this organization when you signed up, with an address that has an account already."


def user_of(email: str) -> User | None:
    """Who has this address; one that is not confirmed is nobody's, unless it is what they sign in by."""
    own = Q(email=email) | Q(emailaddress__email=email, emailaddress__verified=True)
    return User.objects.filter(own).order_by("pk").first()


def visitor(email: str, address: str | None) -> Actor:
    """Somebody who says that this is their e-mail address, for the audit log."""
    return Actor(ActorKind.VISITOR, f"{email} (not confirmed)"[:300], None, address)
