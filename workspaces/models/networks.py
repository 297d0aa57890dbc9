"""Network configurations: networks of the customer's own, in which workspaces can be."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import Organization, User
from portal.clouds.base import Network
from workspaces.models.clouds import CloudConfiguration


class NetworkConfigurationQuerySet(models.QuerySet["NetworkConfiguration"]):
    """Network configurations."""

    def in_organization(self, organization: Organization) -> NetworkConfigurationQuerySet:
        """Those of one organization that were not deleted, by name."""
        return self.filter(organization=organization, deleted_at=None).order_by("name")


class NetworkConfiguration(models.Model):
    """A network that the customer made in the account of a cloud configuration, by the provider's ids. It is checked
    before it is kept, and never changed afterwards: workspaces stand in it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="networks")
    cloud_configuration = models.ForeignKey(CloudConfiguration, on_delete=models.PROTECT, related_name="networks")
    name = models.CharField(max_length=100)
    region = models.CharField(max_length=40)
    vpc = models.CharField(max_length=100, verbose_name="VPC")
    subnets = models.JSONField(default=list)
    security_groups = models.JSONField(default=list)
    endpoints = models.JSONField(default=dict, blank=True, help_text="Ids by the service: s3, ssm, platform.")
    checks = models.JSONField(default=list, help_text="The checks as they were when it was created.")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = NetworkConfigurationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("name"), condition=Q(deleted_at=None), name="network_configuration_name_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def network(self) -> Network:
        """What the provider is told of it."""
        return Network(self.vpc, self.subnets, self.security_groups, self.endpoints)
