"""Registrations from AWS Marketplace: from the token that a buyer brings to the organization that it pays for."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, marketplace, services
from accounts.audit import Actor
from accounts.marketplace import AGAIN, Purchase
from accounts.models import (
    MarketplaceRegistration,
    MarketplaceSubscription,
    Organization,
    SubscriptionState,
    User,
)
from accounts.permissions import Perm
from accounts.services_subscriptions import settle_organization
from accounts.standing import demand, lock_roles
from portal.errors import UserError

LIFETIME = timedelta(minutes=45)
"""From the token to the form filled in."""

REMEMBERED = timedelta(days=30)
"""How long a token that was used is known as such; AWS itself takes none for longer than hours."""


@dataclass(frozen=True)
class Arrival:
    """A registration, and the one-shot key by which the buyer's browser gets hold of it."""

    registration: MarketplaceRegistration
    claim_key: str


def register(*, actor: Actor, token: str) -> Arrival:
    """Take a token that a buyer brought. It is used up only when it led to a registration.

    Raises UserError: MarketplaceTokenUsed, SubscriptionLinked, or what ``marketplace.resolve`` raises.
    """
    token_hash = _sha256(token)
    if MarketplaceRegistration.objects.filter(token_hash=token_hash).exists():
        raise _token_used()
    purchase = marketplace.resolve(token)
    with transaction.atomic():
        subscription = _subscription_for(purchase)
        if subscription.organization:
            raise linked_already(subscription)
        claim_key = secrets.token_urlsafe(32)
        try:
            with transaction.atomic():
                registration = MarketplaceRegistration.objects.create(
                    subscription=subscription,
                    token_hash=token_hash,
                    claim_hash=_sha256(claim_key),
                    expires_at=timezone.now() + LIFETIME,
                )
        except IntegrityError:  # the same token, twice at once
            raise _token_used() from None
        audit.record(
            actor,
            "marketplace_registration.create",
            registration,
            organization=None,
            account=purchase.account_id,
            product=purchase.product_code,
        )
    return Arrival(registration, claim_key)


@transaction.atomic
def claim(*, actor: Actor, key: str) -> MarketplaceRegistration:
    """Give a registration to the browser that brings its key, once. Raises UserError(RegistrationClaimed)."""
    now = timezone.now()
    found = MarketplaceRegistration.objects.filter(claim_hash=_sha256(key))
    if not found.filter(claimed_at=None, expires_at__gt=now).update(claimed_at=now):
        raise UserError(
            "RegistrationClaimed",
            "This step of the registration was already taken, or is too old.",
            f"If you began in this browser and the form is open in another tab, go on there. Otherwise: {AGAIN}",
        )
    registration = found.select_related("subscription").get()
    audit.record(actor, "marketplace_registration.claim", registration, organization=None)
    return registration


@transaction.atomic
def subscribe(
    *, actor: Actor, owner: User, registration: MarketplaceRegistration, organization: Organization | None, name: str
) -> Organization:
    """Link a registration's subscription to an organization, or to a new one of that name.

    Raises PermissionNeededError; UserError: NameTaken, SubscriptionLinked, OrganizationSubscribed, OrganizationGone.
    """
    if organization is None:
        organization = services.create_organization(actor=actor, name=name, owner=owner)
    else:
        demand(actor, Perm.BILLING_MANAGE, lock_roles(organization))
    link(actor=actor, subscription=registration.subscription, organization=organization)
    return organization


@transaction.atomic
def link(*, actor: Actor, subscription: MarketplaceSubscription, organization: Organization) -> None:
    """Let a subscription pay for an organization, for good. Of two at once, one is refused. One that AWS has called
    failed or ended meanwhile stays so.

    Raises UserError: SubscriptionLinked, OrganizationSubscribed.
    """
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    row = MarketplaceSubscription.objects.select_for_update(of=("self",)).get(pk=subscription.pk)
    if not row.organization_id:
        others = MarketplaceSubscription.objects.in_organization(organization)
        if others.filter(state=SubscriptionState.ACTIVE).exists():
            raise UserError(
                "OrganizationSubscribed",
                f"{organization} already has a subscription.",
                "Choose another organization, or make a new one.",
            )
        row.organization, row.linked_at = organization, timezone.now()
        if row.state == SubscriptionState.PENDING:
            row.state, row.active_since = SubscriptionState.ACTIVE, row.linked_at
        if marketplace.is_contract(row.product_code):
            row.entitlements_due_at = row.linked_at
        row.save(update_fields=["organization", "state", "linked_at", "active_since", "entitlements_due_at"])
        settle_organization(organization=organization)
        subscription.refresh_from_db()
    else:
        subscription.refresh_from_db()
        raise linked_already(subscription)
    audit.record(
        actor,
        "marketplace_subscription.link",
        subscription,
        organization=organization,
        account=subscription.account_id,
        product=subscription.product_code,
    )


@transaction.atomic
def release(*, actor: Actor, organization: Organization) -> None:
    """An organization ends, or is billed in another way: its subscription may be registered again, for another one."""
    for subscription in MarketplaceSubscription.objects.select_for_update().filter(organization=organization):
        subscription.organization = subscription.linked_at = subscription.active_since = None
        if subscription.state == SubscriptionState.ACTIVE:
            subscription.state = SubscriptionState.PENDING
        subscription.save(update_fields=["organization", "linked_at", "active_since", "state"])
        audit.record(
            actor,
            "marketplace_subscription.release",
            subscription,
            organization=organization,
            account=subscription.account_id,
            product=subscription.product_code,
        )
    settle_organization(organization=organization)


def linked_already(subscription: MarketplaceSubscription) -> UserError:
    """The answer to whoever comes second with a subscription."""
    return UserError(
        "SubscriptionLinked",
        f"This subscription already belongs to the organization {subscription.organization}.",
        "Sign in to use it. If you are not a member, ask one of its owners to invite you.",
    )


def used(tokens: list[str]) -> str:
    """The last of some tokens that has led to a registration; empty if none has."""
    hashes = {_sha256(token): token for token in tokens}
    found = MarketplaceRegistration.objects.filter(token_hash__in=hashes).order_by("-created_at")
    token_hash = found.values_list("token_hash", flat=True).first()
    return hashes[token_hash] if token_hash else ""


def sweep() -> int:
    """Forget tokens that AWS itself would not take any more."""
    deleted, _ = MarketplaceRegistration.objects.filter(expires_at__lt=timezone.now() - REMEMBERED).delete()
    return deleted


def _subscription_for(purchase: Purchase) -> MarketplaceSubscription:
    """The subscription, locked; made when it is new.

    A customer whose licence we had not been told, or are not told now, is the same customer.
    """
    known = MarketplaceSubscription.objects.select_for_update(of=("self",)).select_related("organization")
    known = known.filter(product_code=purchase.product_code, customer=purchase.customer)
    if purchase.license_arn:
        same = known.filter(license_arn__in=["", purchase.license_arn]).order_by("-license_arn").first()
    else:
        same = known.order_by("-created_at").first()
    if same and purchase.license_arn and not same.license_arn:
        same.license_arn = purchase.license_arn
        same.save(update_fields=["license_arn"])
    if same:
        return same
    made, _ = MarketplaceSubscription.objects.get_or_create(
        product_code=purchase.product_code,
        customer=purchase.customer,
        license_arn=purchase.license_arn,
        defaults={
            "account_id": purchase.account_id,
            "customer_identifier": purchase.customer_identifier,
            "sandbox": settings.PORTAL_MARKETPLACE == "sandbox",
        },
    )
    return made


def _token_used() -> UserError:
    return UserError(
        "MarketplaceTokenUsed",
        "This registration was already begun.",
        f"If you began it in this browser, go on in the tab with the form. Otherwise: {AGAIN}",
    )


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
