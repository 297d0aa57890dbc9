"""Subscriptions through AWS Marketplace, and the registrations by which they reach us."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from accounts.models.people import Organization


class SubscriptionState(models.TextChoices):
    """Where a subscription stands."""

    PENDING = "PENDING", "Waits for its organization"
    ACTIVE = "ACTIVE", "Linked"


class MarketplaceSubscriptionQuerySet(models.QuerySet["MarketplaceSubscription"]):
    """Subscriptions."""

    def in_organization(self, organization: Organization) -> MarketplaceSubscriptionQuerySet:
        """What pays for an organization: one at most."""
        return self.filter(organization=organization, state=SubscriptionState.ACTIVE)


class MarketplaceSubscription(models.Model):
    """What a customer of AWS Marketplace has bought of us.

    ``customer`` is the AWS account that pays, or AWS's older customer identifier where no account is given. The same
    customer may buy a product more than once; then ``license_arn`` tells the agreements apart.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    product_code = models.CharField(max_length=255)
    customer = models.CharField(max_length=255)
    license_arn = models.CharField(max_length=1200, blank=True)
    customer_identifier = models.CharField(max_length=255, blank=True)
    account_id = models.CharField(max_length=255, blank=True)
    sandbox = models.BooleanField(default=False, help_text="From the sandbox; nobody pays for it.")
    state = models.CharField(max_length=20, choices=SubscriptionState.choices, default=SubscriptionState.PENDING)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="marketplace_subscriptions"
    )
    created_at = models.DateTimeField(default=timezone.now)
    linked_at = models.DateTimeField(null=True, blank=True)

    objects = MarketplaceSubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["product_code", "customer", "license_arn"], name="marketplace_subscription_unique"
            ),
            models.UniqueConstraint(
                fields=["organization"],
                condition=models.Q(state=SubscriptionState.ACTIVE),
                name="marketplace_subscription_one_per_organization",
            ),
            models.CheckConstraint(
                condition=models.Q(state=SubscriptionState.PENDING, organization=None, linked_at=None)
                | models.Q(state=SubscriptionState.ACTIVE, organization__isnull=False, linked_at__isnull=False),
                name="marketplace_subscription_linked_when_active",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_code} for {self.customer}"


class MarketplaceRegistration(models.Model):
    """A buyer who came from AWS Marketplace with a token and fills in our form, for less than an hour.

    Token and claim key are stored as SHA-256 only. The token's stays for weeks, to be known when it comes again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subscription = models.ForeignKey(MarketplaceSubscription, on_delete=models.CASCADE, related_name="registrations")
    token_hash = models.CharField(max_length=64, unique=True)
    claim_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    claimed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.subscription)
