"""Rates, and the intervals of use that the bill is made of."""

from __future__ import annotations

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary, RangeOperators
from django.db import models
from django.db.models import Func, Q

from accounts.models import Organization
from clusters.models import Cluster
from workspaces.models import Provider, Workspace


class TimeRange(Func):
    """``[from, to)`` as a PostgreSQL range."""

    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


class Rate(models.Model):
    """What one hour of one instance costs in US dollars, from ``valid_from`` until ``valid_to`` (None: no end).

    The database refuses two at a time for one type. ``billing.rates.put`` is the way to write them.
    """

    provider = models.CharField(max_length=10, choices=Provider.choices)
    instance_type = models.CharField(max_length=60)
    hourly = models.DecimalField(max_digits=12, decimal_places=6, help_text="US dollars for one instance and hour")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["provider", "instance_type", "valid_from"], name="rate_lookup")]
        constraints = [
            ExclusionConstraint(
                name="rate_one_at_a_time",
                expressions=[
                    ("provider", RangeOperators.EQUAL),
                    ("instance_type", RangeOperators.EQUAL),
                    (TimeRange("valid_from", "valid_to", RangeBoundary()), RangeOperators.OVERLAPS),
                ],
                violation_error_message="Another rate of this instance type is in force in a part of that time.",
            ),
            models.CheckConstraint(
                condition=Q(valid_to=None) | Q(valid_to__gt=models.F("valid_from")), name="rate_ends_after_start"
            ),
            models.CheckConstraint(condition=Q(hourly__gte=0), name="rate_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.instance_type}: {self.hourly} USD per hour"


class UsageIntervalQuerySet(models.QuerySet["UsageInterval"]):
    """Usage intervals."""

    def in_organization(self, organization: Organization) -> UsageIntervalQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)

    def overlapping(self, start: object, end: object) -> UsageIntervalQuerySet:
        """Those that have a part in ``[start, end)``; open ones go on."""
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=start), started_at__lt=end)


class UsageInterval(models.Model):
    """A stretch of time in which a cluster had one size and one rate. Derived from the ledger; open while it lasts.

    The database refuses two intervals of one cluster that overlap.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="usage")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="usage")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="usage")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    instance_type = models.CharField(max_length=60)
    instances = models.PositiveIntegerField()
    hourly = models.DecimalField(max_digits=12, decimal_places=6)

    objects = UsageIntervalQuerySet.as_manager()

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="usage_never_twice",
                expressions=[
                    ("cluster", RangeOperators.EQUAL),
                    (TimeRange("started_at", "ended_at", RangeBoundary()), RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(ended_at__gte=models.F("started_at")), name="usage_ends_after_start"
            ),
        ]
        indexes = [models.Index(fields=["organization", "started_at"], name="usage_by_organization")]

    def __str__(self) -> str:
        return f"{self.cluster}: {self.instances} × {self.instance_type}"


class UsageDayQuerySet(models.QuerySet["UsageDay"]):
    """Days of usage."""

    def in_organization(self, organization: Organization) -> UsageDayQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class UsageDay(models.Model):
    """What a cluster's intervals that have ended come to on one day (UTC), by type and rate. Derived with them.

    It is there because a month of a large organization has too many intervals to add up for every page.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+", db_index=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="+", db_index=False)
    day = models.DateField()
    instance_type = models.CharField(max_length=60)
    hourly = models.DecimalField(max_digits=12, decimal_places=6)
    minutes = models.PositiveBigIntegerField(help_text="minutes times instances")

    objects = UsageDayQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster", "day", "instance_type", "hourly"], name="usage_day_once")
        ]
        indexes = [
            models.Index(
                fields=["organization", "day"],
                include=["workspace", "cluster", "instance_type", "hourly", "minutes"],  # pages read nothing else
                name="usage_day_of_organization",
            )
        ]

    def __str__(self) -> str:
        return f"{self.cluster} on {self.day}: {self.minutes} min"


class MeteredCluster(models.Model):
    """How much of a cluster's ledger the intervals reflect."""

    cluster = models.OneToOneField(Cluster, primary_key=True, on_delete=models.PROTECT, related_name="metered")
    ledger_length = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.cluster}: {self.ledger_length}"
