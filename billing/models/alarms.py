"""Usage alarms of cloud configurations, who is told, what they said, and the metric that they watch on LOCAL."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User
from portal.clouds.base import AlarmSpec, AlarmState, EndpointState, Target
from portal.models import Reconciled
from workspaces.models import CloudConfiguration


class AlarmStatus(models.TextChoices):
    """Where the deployment of an alarm stands; what it says is its ``state``."""

    NEW = "NEW"
    INPROGRESS = "INPROGRESS"
    READY = "READY"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


S = AlarmStatus
TRANSITIONS: dict[str, frozenset[str]] = {
    S.NEW: frozenset({S.INPROGRESS, S.READY, S.FAILED, S.TERMINATING, S.TERMINATED}),
    S.INPROGRESS: frozenset({S.READY, S.FAILED, S.TERMINATING, S.TERMINATED}),
    S.READY: frozenset({S.INPROGRESS, S.FAILED, S.TERMINATING, S.TERMINATED}),
    S.FAILED: frozenset({S.INPROGRESS, S.READY, S.TERMINATING, S.TERMINATED}),
    S.TERMINATING: frozenset({S.TERMINATED}),
    S.TERMINATED: frozenset(),
}
STATES = [(state.value, state.value) for state in AlarmState]


class AlarmQuerySet(models.QuerySet["Alarm"]):
    """Usage alarms."""

    def in_organization(self, organization: Organization) -> AlarmQuerySet:
        """Those of one organization that are not gone, by name."""
        rows = self.filter(configuration__organization=organization).exclude(status=AlarmStatus.TERMINATED)
        return rows.order_by(Lower("name"))

    def standing_on(self, configuration: CloudConfiguration) -> AlarmQuerySet:
        """Those of one configuration that are not gone, by name."""
        return self.in_organization(configuration.organization).filter(configuration=configuration)


class Alarm(Reconciled):
    """Tells people when more than ``threshold`` vCPUs of a cloud configuration are in use for ``period_minutes``.

    ``state`` is what it says, as seen at ``observed_at``, and ``state_at`` since when. ``told`` is what its endpoints
    heard last; gaps in the metric are nothing to tell. ``changes`` counts the changes of state.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    configuration = models.ForeignKey(CloudConfiguration, on_delete=models.PROTECT, related_name="alarms")
    name = models.CharField(max_length=100)
    topic = models.CharField(max_length=256)
    threshold = models.PositiveIntegerField(help_text="vCPUs; it goes off above that")
    period_minutes = models.PositiveIntegerField(default=5)
    status = models.CharField(max_length=20, choices=AlarmStatus.choices, default=AlarmStatus.NEW)
    target = models.CharField(max_length=20, default=Target.RUNNING.value)
    state = models.CharField(max_length=20, choices=STATES, default=AlarmState.INSUFFICIENT_DATA.value)
    state_reason = models.CharField(max_length=500, blank=True)
    state_at = models.DateTimeField(default=timezone.now)
    observed_at = models.DateTimeField(null=True, editable=False)
    told = models.CharField(max_length=20, choices=STATES, default=AlarmState.OK.value, editable=False)
    changes = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = AlarmQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "configuration", Lower("name"), condition=~Q(status=AlarmStatus.TERMINATED), name="alarm_name_unique"
            ),
            models.CheckConstraint(condition=Q(period_minutes__gte=1), name="alarm_period_positive"),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="alarm_due")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The alarm's page."""
        return reverse("billing:alarm", args=[self.configuration.organization_id, self.configuration_id, self.pk])

    @property
    def own_topic(self) -> bool:
        """Whether the topic was made for it, and goes with it; otherwise it was there, and stays as it is."""
        return not self.topic.startswith("arn:")

    def spec(self) -> AlarmSpec:
        """What the cloud should make of it."""
        wanted = [row for row in self.endpoints.all() if row.state != EndpointState.UNSUBSCRIBED]
        return AlarmSpec(
            id=str(self.pk),
            name=self.name,
            topic=self.topic,
            threshold=self.threshold,
            period=self.period_minutes * 60,
            endpoints={row.address: row.asked for row in wanted},
        )


class AlarmEndpoint(models.Model):
    """An e-mail address that an alarm tells. ``asked`` is how often it was asked to confirm, ``asked_at`` when last."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="endpoints")
    address = models.EmailField(max_length=254)
    state = models.CharField(
        max_length=20,
        choices=[(state.value, state.value) for state in EndpointState],
        default=EndpointState.PENDING.value,
    )
    asked = models.PositiveIntegerField(default=1)
    asked_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alarm", "address"], name="alarm_endpoint_unique")]
        ordering = ["alarm", "address"]

    def __str__(self) -> str:
        return self.address


class AlarmChange(models.Model):
    """One change of what an alarm says; ``number`` counts from 1, so that none is there twice. ``told`` is how many
    endpoints got a mail about it."""

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="history")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    state = models.CharField(max_length=20, choices=STATES)
    reason = models.CharField(max_length=500)
    told = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alarm", "number"], name="alarm_change_unique")]

    def __str__(self) -> str:
        return f"{self.alarm}: {self.state}"


class UsageSample(models.Model):
    """How many vCPUs of a configuration were in use in a minute (UTC). Kept for ``billing.alarms_metric.KEPT``."""

    configuration = models.ForeignKey(CloudConfiguration, on_delete=models.CASCADE, related_name="+", db_index=False)
    minute = models.DateTimeField()
    vcpus = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["configuration", "minute"], name="usage_sample_once")]
        indexes = [models.Index(fields=["minute"], name="usage_sample_minute")]

    def __str__(self) -> str:
        return f"{self.vcpus} vCPUs at {self.minute}"
