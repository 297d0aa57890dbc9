"""What stands in cloud accounts without a record: the last search of each configuration, and what it found."""

from __future__ import annotations

import uuid

from django.db import models

from portal.clouds.base import Orphan
from portal.models import Reconciled
from workspaces.models.clouds import CloudConfiguration


class OrphanSearch(Reconciled):
    """The search of one configuration's account. While it is wished for, ``due_at`` is set."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    configuration = models.OneToOneField(CloudConfiguration, on_delete=models.CASCADE, related_name="orphan_search")
    searched_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name_plural = "orphan searches"
        indexes = [models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="orphan_search_due")]

    def __str__(self) -> str:
        return f"the account of {self.configuration}"


class LostStatus(models.TextChoices):
    """Where something without a record stands. REMOVED ones are shown until the next search."""

    FOUND = "FOUND"
    REMOVING = "REMOVING"
    REMOVED = "REMOVED"
    ADOPTED = "ADOPTED"


class LostThingQuerySet(models.QuerySet["LostThing"]):
    """Things without a record."""

    def in_configuration(self, configuration: CloudConfiguration) -> LostThingQuerySet:
        """Those that the last search found, those of one deployment together, dearest first."""
        dearest = models.F("daily").desc(nulls_last=True)
        return self.filter(search__configuration=configuration).order_by("deployment", dearest, "kind", "key")


class LostThing(Reconciled):
    """Something that a search found. The provider's facts are those of that time; they are asked again before anything
    is done. The engine removes it where ``status`` is REMOVING."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    search = models.ForeignKey(OrphanSearch, on_delete=models.CASCADE, related_name="things")
    status = models.CharField(max_length=10, choices=LostStatus.choices, default=LostStatus.FOUND, editable=False)
    due_at = models.DateTimeField(null=True, default=None, editable=False)
    key = models.CharField(max_length=500, editable=False)
    provider_id = models.CharField(max_length=300, editable=False)
    kind = models.CharField(max_length=60, editable=False)
    name = models.CharField(max_length=300, blank=True, editable=False)
    region = models.CharField(max_length=40, editable=False)
    deployment = models.CharField(max_length=60, editable=False)
    deployment_name = models.CharField(max_length=300, blank=True, editable=False)
    step = models.CharField(max_length=100, blank=True, editable=False)
    daily = models.DecimalField(max_digits=12, decimal_places=4, null=True, editable=False)
    since = models.DateTimeField(null=True, editable=False)
    adoptable = models.BooleanField(default=False, editable=False)

    objects = LostThingQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["search", "key"], name="lost_thing_unique")]
        indexes = [models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="lost_thing_due")]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider_id}"

    def orphan(self) -> Orphan:
        """As the provider knows it."""
        return Orphan(
            key=self.key,
            id=self.provider_id,
            kind=self.kind,
            name=self.name,
            region=self.region,
            deployment=self.deployment,
            step=self.step,
            daily=self.daily,
            since=self.since,
            adoptable=self.adoptable,
        )
