"""The audit log."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.models.people import Organization, User


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Audit events."""

    def in_organization(self, organization: Organization) -> AuditEventQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class AuditEvent(models.Model):
    """Who did what to which object, from where. Written in the transaction of the write itself."""

    number = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    organization = models.ForeignKey(Organization, null=True, on_delete=models.PROTECT, related_name="audit_events")
    actor_kind = models.CharField(max_length=10)
    actor_user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL)
    actor_label = models.CharField(max_length=300)
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=40)
    object_label = models.CharField(max_length=300)
    address = models.GenericIPAddressField(null=True)
    detail = models.JSONField(default=dict)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["organization", "-number"], name="audit_by_organization")]

    def __str__(self) -> str:
        return f"{self.actor_label} {self.verb} {self.object_label}"
