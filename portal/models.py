"""What every deployment has: the fields of reconciliation, and the lines of its progress."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import models
from django.utils import timezone

from portal.clouds.base import Event, Level


class NextNumber(models.Func):
    """The next value of a database sequence: a number that grows with each row, for lists and queues in order."""

    function = "nextval"
    output_field = models.BigIntegerField()

    def __init__(self, sequence: str) -> None:
        super().__init__(models.Value(sequence))
        self.sequence = sequence

    def deconstruct(self) -> tuple[str, tuple[str], dict[str, Any]]:
        """For migrations."""
        return "portal.models.NextNumber", (self.sequence,), {}


class Reconciled(models.Model):
    """A row whose wish (``target``) is made true by ``portal.reconcile``.

    Services write the wish, raise ``revision`` and set ``due_at``; only the engine writes ``handle`` and the lease.
    ``due_at`` is None exactly when nothing is left to do.
    """

    handle = models.JSONField(default=dict, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)
    due_at = models.DateTimeField(null=True, default=timezone.now, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    failure_code = models.CharField(max_length=100, blank=True)
    failure_message = models.TextField(blank=True)
    failure_hint = models.TextField(blank=True)
    progress_message = models.CharField(max_length=500, blank=True)
    progress = models.FloatField(null=True)

    class Meta:
        abstract = True

    @property
    def settled(self) -> bool:
        """True when nothing is under way."""
        return self.due_at is None


class DeploymentEventQuerySet(models.QuerySet["DeploymentEvent"]):
    """Lines of one deployment."""

    def of(self, subject: uuid.UUID) -> DeploymentEventQuerySet:
        """The lines of one workspace, cluster or run, newest first."""
        return self.filter(subject=subject).order_by("-id")


class DeploymentEvent(models.Model):
    """A line in the details of a deployment: what a reconciler did or found."""

    subject = models.UUIDField()
    at = models.DateTimeField(default=timezone.now)
    step = models.CharField(max_length=100, blank=True)
    message = models.TextField()
    level = models.CharField(max_length=10, choices=[(level.value, level.value) for level in Level])
    progress = models.FloatField(null=True)

    objects = DeploymentEventQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["subject", "-id"], name="event_by_subject")]

    def __str__(self) -> str:
        return self.message


def record_events(row: Any, events: Sequence[Event]) -> None:
    """Store what a step told, and keep the newest as the row's progress."""
    for event in events:
        row.progress_message, row.progress = event.message[:500], event.progress
        record_event(row.pk, event)


def record_event(subject: uuid.UUID, event: Event) -> None:
    """Store one line. A line that only moves on (same step, known progress), or says the same again, replaces the one
    before it: an installation leaves one line and not a thousand, and so does what fails every minute."""
    text = event.message[:2000]
    if event.progress is not None or event.level is Level.ERROR:
        last = DeploymentEvent.objects.of(subject).first()
        moved = last and last.progress is not None and event.progress is not None and last.step == event.step
        repeated = last and last.message == text and last.level == event.level
        if last and (moved or repeated):
            last.message, last.progress, last.at = text, event.progress, timezone.now()
            last.save(update_fields=["message", "progress", "at"])
            return
    DeploymentEvent.objects.create(
        subject=subject, step=event.step, message=text, level=event.level.value, progress=event.progress
    )


class OutgoingMail(models.Model):
    """A mail on its way; see ``portal.mail``. ``due_at`` is None once it was sent or given up."""

    to = models.EmailField(max_length=254)
    subject = models.CharField(max_length=300)
    sealed = models.TextField(blank=True, editable=False, help_text="The text, sealed; empty once it was sent.")
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="mail_due")]

    def __str__(self) -> str:
        return f"{self.subject} → {self.to}"
