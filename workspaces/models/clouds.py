"""Cloud configurations: how the platform reaches a cloud account."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import Organization, User


class Provider(models.TextChoices):
    """The clouds there are."""

    LOCAL = "LOCAL", "This machine"


class CloudConfigurationQuerySet(models.QuerySet["CloudConfiguration"]):
    """Cloud configurations."""

    def in_organization(self, organization: Organization) -> CloudConfigurationQuerySet:
        """Those of one organization that were not deleted, by name."""
        return self.filter(organization=organization, deleted_at=None).order_by("name")


class CloudConfiguration(models.Model):
    """How the platform reaches one cloud account. ``settings`` is the provider's own, without secrets."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="cloud_configurations")
    name = models.CharField(max_length=100)
    provider = models.CharField(max_length=10, choices=Provider.choices)
    settings = models.JSONField(default=dict)
    checks = models.JSONField(default=list, help_text="The checks as they were when the configuration was created.")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = CloudConfigurationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("name"), condition=Q(deleted_at=None), name="cloud_configuration_name_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def location(self) -> str:
        """Where in the cloud it stores what it knows: on LOCAL, a directory."""
        return str(self.settings.get("directory", ""))
