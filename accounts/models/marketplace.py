"""Subscriptions through AWS Marketplace, the registrations by which they reach us, and what AWS says of them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import Organization

GRACE = timedelta(minutes=30)
"""From the announcement that nothing can be started any more to the pause of what runs."""

FINAL_HOUR = timedelta(hours=1)
"""How long AWS takes records of a customer who cancels, from its notification on."""


class SubscriptionState(models.TextChoices):
    """Where a subscription stands. All but the first two are suspended: nothing can be started."""

    PENDING = "PENDING", "Waits for its organization"
    ACTIVE = "ACTIVE", "Active"
    FAILED = "FAILED", "Payment failed"
    CANCELLING = "CANCELLING", "Being cancelled"
    ENDED = "ENDED", "Ended"
    EXPIRED = "EXPIRED", "Contract expired"


class MarketplaceSubscriptionQuerySet(models.QuerySet["MarketplaceSubscription"]):
    """Subscriptions."""

    def in_organization(self, organization: Organization) -> MarketplaceSubscriptionQuerySet:
        """Those of an organization, the one that counts first: it was linked last."""
        return self.filter(organization=organization).order_by("-linked_at")

    def played(self, mode: str) -> MarketplaceSubscriptionQuerySet:
        """Those for which somebody answers where ``PORTAL_MARKETPLACE`` is this: AWS, the sandbox, or nobody."""
        return self.filter(sandbox=mode == "sandbox") if mode != "off" else self.none()


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
    active_since = models.DateTimeField(null=True, blank=True, help_text="Usage counts from here on.")
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="Nothing could be started from here on.")
    notified_at = models.DateTimeField(
        null=True, blank=True, help_text="When AWS sent the last notification that counted."
    )
    entitlements_read_at = models.DateTimeField(null=True, blank=True)
    entitlements_due_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = MarketplaceSubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["product_code", "customer", "license_arn"], name="marketplace_subscription_unique"
            ),
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(state=SubscriptionState.ACTIVE),
                name="marketplace_subscription_one_per_organization",
            ),
            models.CheckConstraint(
                condition=Q(organization=None, linked_at=None) | Q(organization__isnull=False, linked_at__isnull=False),
                name="marketplace_subscription_linked_to_somebody",
            ),
            models.CheckConstraint(
                condition=Q(state=SubscriptionState.PENDING, organization=None, active_since=None, suspended_at=None)
                | Q(
                    state=SubscriptionState.ACTIVE,
                    organization__isnull=False,
                    active_since__isnull=False,
                    suspended_at=None,
                )
                | (~Q(state__in=[SubscriptionState.PENDING, SubscriptionState.ACTIVE]) & Q(suspended_at__isnull=False)),
                name="marketplace_subscription_state_fits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_code} for {self.customer}"

    @property
    def pauses_at(self) -> datetime | None:
        """When what runs is paused; None unless the subscription is suspended. While AWS's final hour lasts, early
        enough to report what was used, also where its notification came late."""
        if self.suspended_at is None:
            return None
        at = self.suspended_at + GRACE
        if self.state == SubscriptionState.CANCELLING and self.notified_at:
            at = min(at, max(self.suspended_at, self.notified_at + FINAL_HOUR * 3 / 4))
        return at


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


class NotificationOutcome(models.TextChoices):
    """What became of a notification."""

    WAITING = "WAITING", "Its customer has not registered yet"
    APPLIED = "APPLIED", "Applied"
    LATE = "LATE", "Older than one that was applied"
    IGNORED = "IGNORED", "Not about what this portal does"
    UNREADABLE = "UNREADABLE", "Makes no sense"


class MarketplaceNotification(models.Model):
    """A message of AWS Marketplace, once for each ``key``, which its sender gave it. Kept for good."""

    key = models.CharField(max_length=200, unique=True)
    action = models.CharField(max_length=100, blank=True)
    product_code = models.CharField(max_length=255, blank=True)
    customer = models.CharField(max_length=255, blank=True)
    license_arn = models.CharField(max_length=1200, blank=True)
    sent_at = models.DateTimeField(help_text="By AWS's clock, but never later than we heard of it.")
    received_at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(max_length=20, choices=NotificationOutcome.choices)
    remark = models.CharField(max_length=300, blank=True)
    subscription = models.ForeignKey(
        MarketplaceSubscription, null=True, blank=True, on_delete=models.PROTECT, related_name="notifications"
    )
    body = models.TextField()

    class Meta:
        indexes = [
            models.Index(
                fields=["product_code", "customer"],
                condition=Q(outcome=NotificationOutcome.WAITING),
                name="notification_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.action or 'message'} for {self.customer or 'nobody'}"


class MarketplaceEntitlement(models.Model):
    """What a customer's contract grants them of one dimension, as AWS said when it was last asked."""

    subscription = models.ForeignKey(MarketplaceSubscription, on_delete=models.CASCADE, related_name="entitlements")
    dimension = models.CharField(max_length=255)
    value = models.CharField(max_length=255, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "dimension"], name="marketplace_entitlement_once")
        ]

    def __str__(self) -> str:
        return f"{self.dimension}: {self.value}"
