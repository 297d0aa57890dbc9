"""What is reported to AWS Marketplace."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import MarketplaceSubscription, Organization


class MeterPeriodQuerySet(models.QuerySet["MeterPeriod"]):
    """Periods."""

    def in_organization(self, organization: Organization) -> MeterPeriodQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class MeterPeriod(models.Model):
    """A stretch of time in which what an organization uses is reported to a subscription. Open while it lasts.

    Hours before ``frozen_until`` have their records; ``settled`` when there is none left to make.
    """

    subscription = models.ForeignKey(MarketplaceSubscription, on_delete=models.PROTECT, related_name="periods")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="meter_periods")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    frozen_until = models.DateTimeField()
    settled = models.BooleanField(default=False)

    objects = MeterPeriodQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription"], condition=Q(ended_at=None), name="meter_period_one_for_subscription"
            ),
            models.UniqueConstraint(
                fields=["organization"], condition=Q(ended_at=None), name="meter_period_one_for_organization"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(ended_at__gte=F("started_at")), name="meter_period_ends_after_start"
            ),
            models.CheckConstraint(condition=Q(settled=False) | Q(ended_at__isnull=False), name="meter_period_settled"),
        ]
        indexes = [models.Index(fields=["frozen_until"], condition=Q(settled=False), name="meter_period_unsettled")]

    def __str__(self) -> str:
        return f"{self.organization} through {self.subscription}"


class MeterState(models.TextChoices):
    """What became of a record."""

    PENDING = "PENDING", "To be sent"
    ACCEPTED = "ACCEPTED", "Accepted"
    REFUSED = "REFUSED", "Refused: not subscribed"
    DUPLICATE = "DUPLICATE", "Refused: AWS has another quantity"
    LOST = "LOST", "Lost: AWS takes it no more"


class MeterRecordQuerySet(models.QuerySet["MeterRecord"]):
    """Records."""

    def in_organization(self, organization: Organization) -> MeterRecordQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class MeterRecord(models.Model):
    """What one subscription used in one hour (UTC), as AWS is told. Nothing but ``state`` and what belongs to it ever
    changes: sent again, it must be the same record.

    ``total`` is what the period cost until the end of this hour; ``quantity`` is what of it had not been reported, in
    whole units of ``unit`` US dollars. Who the customer is to AWS is kept here, too: under another name, AWS would
    count the same hour again.
    """

    period = models.ForeignKey(MeterPeriod, on_delete=models.PROTECT, related_name="records")
    subscription = models.ForeignKey(MarketplaceSubscription, on_delete=models.PROTECT, related_name="meter_records")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="meter_records")
    dimension = models.CharField(max_length=255)
    hour = models.DateTimeField(help_text="The first instant of the hour.")
    timestamp = models.DateTimeField(help_text="The time in that hour for which AWS is told.")
    closes_at = models.DateTimeField(help_text="When AWS stops taking records of this hour.")
    total = models.DecimalField(max_digits=30, decimal_places=10)
    unit = models.DecimalField(max_digits=12, decimal_places=6)
    quantity = models.PositiveBigIntegerField()
    product_code = models.CharField(max_length=255)
    license_arn = models.CharField(max_length=1200, blank=True)
    account_id = models.CharField(max_length=255, blank=True)
    customer_identifier = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=20, choices=MeterState.choices, default=MeterState.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    claim = models.UUIDField(null=True, blank=True, editable=False)
    metering_record_id = models.CharField(max_length=255, blank=True)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)

    objects = MeterRecordQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "dimension", "hour"], name="meter_record_once"),
            models.CheckConstraint(
                condition=Q(state=MeterState.PENDING, due_at__isnull=False)
                | (~Q(state=MeterState.PENDING) & Q(due_at=None)),
                name="meter_record_due_while_pending",
            ),
            models.CheckConstraint(condition=Q(unit__gt=0), name="meter_record_unit"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state=MeterState.PENDING), name="meter_record_due"),
            models.Index(fields=["organization", "-id"], name="meter_record_of_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription}, {self.hour:%Y-%m-%d %H}:00"

    @property
    def cost(self) -> Decimal:
        """US dollars."""
        return self.quantity * self.unit
