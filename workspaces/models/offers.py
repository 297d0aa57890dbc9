"""What a cloud offers in a region, kept where asking for it takes seconds."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from portal.clouds.base import InstanceType
from portal.models import Reconciled
from workspaces.models.clouds import CloudConfiguration


class Offers(Reconciled):
    """The zones and instance types of one region of one account, as they were at ``fetched_at`` (None before the first
    answer). ``due_at`` is when they are asked for next."""

    cloud_configuration = models.ForeignKey(CloudConfiguration, on_delete=models.CASCADE, related_name="offers")
    region = models.CharField(max_length=40)
    types = models.JSONField(default=list, editable=False)
    zones = models.JSONField(default=list, editable=False)
    fetched_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name_plural = "offers"
        constraints = [
            models.UniqueConstraint(fields=["cloud_configuration", "region"], name="offers_once_for_each_region")
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="offers_due")]

    def __str__(self) -> str:
        return f"{self.cloud_configuration} in {self.region}"

    def instance_types(self) -> list[InstanceType]:
        """The types, smallest first."""
        return [InstanceType(**each) for each in self.types]
