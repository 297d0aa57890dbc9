"""What pausing and stopping idle clusters has saved."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from accounts.models import Organization
from clusters.models import Cluster
from workspaces.models import Workspace


class SavingQuerySet(models.QuerySet["Saving"]):
    """Savings."""

    def in_organization(self, organization: Organization) -> SavingQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class Saving(models.Model):
    """The platform let an idle cluster go at ``paused_at``, and until ``ended_at`` nobody asked anything of it; None
    while nobody has. Derived from the ledger, with the size and the rate of the usage interval that ended then.

    How much of that time counts says ``billing.savings``.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+", db_index=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="savings", db_index=False)
    paused_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    instance_type = models.CharField(max_length=60)
    instances = models.PositiveIntegerField()
    hourly = models.DecimalField(max_digits=12, decimal_places=6)

    objects = SavingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster", "paused_at"], name="saving_once"),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(ended_at__gte=F("paused_at")), name="saving_ends_after_start"
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization", "paused_at"],
                include=["cluster", "ended_at", "instances", "hourly"],
                name="saving_of_organization",
            )
        ]

    def __str__(self) -> str:
        return f"{self.cluster} from {self.paused_at:%Y-%m-%d %H:%M}"
