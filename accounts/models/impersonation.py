"""Staff acting as a person."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone

from accounts.models.people import User


class ImpersonationQuerySet(models.QuerySet["Impersonation"]):
    """Impersonations."""

    def open(self) -> ImpersonationQuerySet:
        """Those that nobody ended; the time of some may be up."""
        return self.filter(ended_at=None)


class Impersonation(models.Model):
    """One time that a member of staff acted as a person: why, from where, and until when at the latest."""

    staff = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    person = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    reason = models.CharField(max_length=300)
    address = models.GenericIPAddressField(null=True)
    started_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects = ImpersonationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["expires_at"], condition=models.Q(ended_at=None), name="impersonation_open"),
        ]

    def __str__(self) -> str:
        return f"{self.staff} as {self.person}"

    def is_over(self, now: datetime) -> bool:
        """Whether its time is up, or somebody ended it."""
        return self.ended_at is not None or self.expires_at <= now
