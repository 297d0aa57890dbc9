"""Statements: what a month came to, as it was told to the customer."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from django.db import models
from django.db.models import Q
from django.urls import reverse

from accounts.models import Organization
from billing.months import Month
from billing.usage import cost
from clusters.models import Cluster
from workspaces.models import Workspace

CENT = Decimal("0.01")


class StatementQuerySet(models.QuerySet["Statement"]):
    """Statements."""

    def in_organization(self, organization: Organization) -> StatementQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class Statement(models.Model):
    """A month of an organization, closed for good: the database refuses to change it or its lines.

    ``first`` is the month's first day. ``total`` is in US dollars, rounded half up to the cent, once.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="statements")
    first = models.DateField()
    closed_at = models.DateTimeField(null=True)
    total = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal(0))
    line_count = models.PositiveIntegerField(default=0)

    objects = StatementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "first"], name="statement_once_a_month"),
            models.CheckConstraint(condition=Q(first__day=1), name="statement_of_a_month"),
        ]

    def __str__(self) -> str:
        return f"{self.organization} {self.month}"

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("billing:statement", args=[self.organization_id, str(self.month)])

    @property
    def month(self) -> Month:
        """The month it is about."""
        return Month(self.first)


class StatementLine(models.Model):
    """What one cluster used of one type at one rate in one month, or by how much that has to be corrected.

    ``of`` is the first day of the month in which it was used: an earlier one than the statement's makes the line a
    correction, whose ``minutes`` (times instances) may be negative. Names are as they were when the month was closed.
    """

    statement = models.ForeignKey(Statement, on_delete=models.PROTECT, related_name="lines")
    of = models.DateField()
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+", db_index=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="+", db_index=False)
    workspace_name = models.CharField(max_length=200)
    cluster_name = models.CharField(max_length=100)
    instance_type = models.CharField(max_length=60)
    hourly = models.DecimalField(max_digits=12, decimal_places=6)
    minutes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["statement", "of", "cluster", "instance_type", "hourly"], name="statement_line_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.cluster_name}: {self.minutes} min of {self.instance_type}"

    @property
    def month(self) -> Month:
        """The month in which it was used."""
        return Month(self.of)

    @property
    def amount(self) -> Decimal:
        """US dollars, not rounded."""
        return cost(self.minutes, 1, self.hourly)


def rounded(amount: Decimal) -> Decimal:
    """US dollars to the cent, half up (and half down below zero)."""
    return amount.quantize(CENT, ROUND_HALF_UP)
