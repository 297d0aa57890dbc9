"""Cloud configurations: how the platform reaches a cloud account."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User
from portal.clouds.aws.configuration import resource_name
from portal.models import Reconciled


class Provider(models.TextChoices):
    """The clouds there are."""

    LOCAL = "LOCAL", "This machine"
    AWS = "AWS", "AWS"


class Way(models.TextChoices):
    """How the things that a configuration needs come into a customer's account."""

    KEYS = "KEYS", "Access keys"
    MANUAL = "MANUAL", "By hand"
    STACK = "STACK", "CloudFormation"


class ConfigurationStatus(models.TextChoices):
    """Where a configuration stands. Only in one that is READY can workspaces be."""

    SETUP = "SETUP"
    CREATING = "CREATING"
    READY = "READY"
    FAILED = "FAILED"


C = ConfigurationStatus
CONFIGURATION_TRANSITIONS: dict[str, frozenset[str]] = {
    C.SETUP: frozenset({C.CREATING, C.READY}),
    C.CREATING: frozenset({C.READY, C.FAILED}),
    C.FAILED: frozenset({C.CREATING, C.READY}),
    C.READY: frozenset(),
}


class CloudConfigurationQuerySet(models.QuerySet["CloudConfiguration"]):
    """Cloud configurations."""

    def in_organization(self, organization: Organization) -> CloudConfigurationQuerySet:
        """Those of one organization that were not deleted, by name."""
        return self.filter(organization=organization, deleted_at=None).order_by("name")

    def ready(self) -> CloudConfigurationQuerySet:
        """Those in which workspaces can be."""
        return self.filter(status=ConfigurationStatus.READY)


class CloudConfiguration(Reconciled):
    """How the platform reaches one cloud account. ``settings`` is the provider's own, without secrets.

    On AWS: ``region``, ``bucket``, ``table``, ``role_arn``, each as soon as it is known. ``external_id`` is chosen
    here and never by who sets up: whoever could choose it could name another tenant's.

    What makes a configuration's things with access keys holds its lease, and not the engine: the keys are in the memory
    of one web process. Where the engine looks after it (CloudFormation), ``due_at`` is set.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="cloud_configurations")
    name = models.CharField(max_length=100)
    provider = models.CharField(max_length=10, choices=Provider.choices)
    status = models.CharField(
        max_length=10, choices=ConfigurationStatus.choices, default=ConfigurationStatus.READY, editable=False
    )
    way = models.CharField(max_length=10, choices=Way.choices, blank=True, editable=False)
    external_id = models.CharField(max_length=64, null=True, blank=True, unique=True, editable=False)
    settings = models.JSONField(default=dict)
    checks = models.JSONField(default=list, help_text="The checks as they were last.")
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(null=True, default=None, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = CloudConfigurationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("name"), condition=Q(deleted_at=None), name="cloud_configuration_name_unique"
            ),
            models.CheckConstraint(
                condition=~Q(provider=Provider.AWS) | Q(external_id__isnull=False),
                name="cloud_configuration_external_id",
            ),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="cloud_configuration_due")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("workspaces:configuration", args=[self.organization_id, self.pk])

    @property
    def location(self) -> str:
        """Where in the cloud it stores what it knows: on LOCAL, a directory; on AWS, a bucket, once it is known."""
        return str(self.settings.get("directory" if self.provider == Provider.LOCAL else "bucket", ""))

    @property
    def account(self) -> str:
        """The customer's account, once it is known; empty on LOCAL."""
        parts = str(self.settings.get("role_arn", "")).split(":")
        return parts[4] if len(parts) > 4 else ""

    @property
    def resource_name(self) -> str:
        """What bucket, table and role are called where the portal chooses the name."""
        return resource_name(str(self.pk))

    @property
    def interrupted(self) -> bool:
        """Whether the process that had the access keys is gone before it was done. Nobody else has them."""
        return (
            self.status == ConfigurationStatus.CREATING
            and self.way == Way.KEYS
            and (self.lease_until is None or self.lease_until < timezone.now())
        )

    @property
    def under_way(self) -> bool:
        """Whether its page should look again by itself."""
        return self.status == ConfigurationStatus.CREATING and not self.interrupted
