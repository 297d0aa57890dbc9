"""Schedules, and what became of each of their fires."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils.timezone import now

from accounts.models import User
from jobs.models.runs import Run
from jobs.models.templates import JobTemplate
from portal.models import NextNumber
from workspaces.models import Workspace


class CatchUp(models.TextChoices):
    """What happens to fires that were due while the portal was down."""

    NONE = "NONE", "Leave them out"
    LATEST = "LATEST", "Run the latest one"


class JobScheduleQuerySet(models.QuerySet["JobSchedule"]):
    """Schedules."""

    def in_workspace(self, workspace: Workspace) -> JobScheduleQuerySet:
        """Those of one workspace that were not deleted."""
        return self.filter(workspace=workspace, deleted_at=None)


class JobSchedule(models.Model):
    """When a template runs by itself. ``next_fire_at`` (UTC) is None while it is off, or where no fire lies ahead."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(unique=True, editable=False, db_default=NextNumber("jobs_schedule_number"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="schedules")
    template = models.ForeignKey(JobTemplate, on_delete=models.PROTECT, related_name="schedules")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    cron = models.CharField(max_length=200)
    timezone = models.CharField(max_length=64, default="UTC")
    max_concurrent = models.PositiveSmallIntegerField(default=1)
    catch_up = models.CharField(max_length=10, choices=CatchUp.choices, default=CatchUp.NONE)
    enabled = models.BooleanField(default=True)
    next_fire_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = JobScheduleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "workspace", Lower("name"), condition=Q(deleted_at=None), name="schedule_name_unique"
            ),
            models.CheckConstraint(
                condition=Q(next_fire_at=None) | Q(enabled=True, deleted_at=None), name="schedule_off_fires_not"
            ),
            models.CheckConstraint(condition=Q(max_concurrent__gte=1), name="schedule_max_concurrent_positive"),
        ]
        indexes = [
            models.Index(fields=["next_fire_at"], condition=Q(next_fire_at__isnull=False), name="schedule_due"),
            models.Index(fields=["workspace", "-number"], condition=Q(deleted_at=None), name="schedule_by_workspace"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The schedule's page."""
        return reverse("jobs:schedule", args=[self.workspace_id, self.pk])


class FireOutcome(models.TextChoices):
    """What became of a fire."""

    STARTED = "STARTED", "Submitted"
    SKIPPED = "SKIPPED", "Left out: too many of its runs were under way"
    MISSED = "MISSED", "Missed: the portal was not there"
    FAILED = "FAILED", "Could not be submitted"


class ScheduleFireQuerySet(models.QuerySet["ScheduleFire"]):
    """Fires."""

    def of(self, schedule: JobSchedule) -> ScheduleFireQuerySet:
        """Those of one schedule, newest first."""
        return self.filter(schedule=schedule).order_by("-fire_at")


class ScheduleFire(models.Model):
    """One fire of a schedule, whatever became of it: there is one row for each time, so none can happen twice.

    ``missed`` counts the times that a MISSED row stands for, from ``fire_at`` on: minutes of a week are one row.
    """

    schedule = models.ForeignKey(JobSchedule, on_delete=models.PROTECT, related_name="fires")
    fire_at = models.DateTimeField()
    at = models.DateTimeField(default=now)
    outcome = models.CharField(max_length=10, choices=FireOutcome.choices)
    run = models.OneToOneField(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="fire")
    missed = models.PositiveIntegerField(default=0)
    detail = models.CharField(max_length=500, blank=True)

    objects = ScheduleFireQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["schedule", "fire_at"], name="fire_once")]

    def __str__(self) -> str:
        return f"{self.schedule} at {self.fire_at:%F %T} UTC"
