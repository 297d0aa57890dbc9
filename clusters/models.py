"""Clusters, their states, and the ledger of their transitions, from which the bill is made."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from portal.clouds.base import ClusterSpec, Target
from portal.models import NextNumber, Reconciled
from workspaces.models import InstanceRole, Workspace


class ClusterStatus(models.TextChoices):
    """Where a cluster stands."""

    NEW = "NEW"
    INPROGRESS = "INPROGRESS"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


S = ClusterStatus
_LEAVING = frozenset({S.PAUSING, S.STOPPING, S.TERMINATING})
TRANSITIONS: dict[str, frozenset[str]] = {
    S.NEW: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.INPROGRESS: frozenset({S.INITIALIZING, S.RUNNING, S.FAILED}) | _LEAVING,
    S.INITIALIZING: frozenset({S.INPROGRESS, S.RUNNING, S.FAILED}) | _LEAVING,
    S.RUNNING: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.PAUSING: frozenset({S.PAUSED, S.FAILED, S.INPROGRESS}) | _LEAVING,
    S.PAUSED: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.STOPPING: frozenset({S.STOPPED, S.FAILED, S.INPROGRESS}) | _LEAVING,
    S.STOPPED: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.FAILED: frozenset({S.INPROGRESS}) | _LEAVING,
    S.TERMINATING: frozenset({S.TERMINATED, S.FAILED}),
    S.TERMINATED: frozenset(),
}
"""NEW → INPROGRESS → INITIALIZING → RUNNING, and from there to PAUSED, STOPPED (and back) or TERMINATED."""


class ClusterQuerySet(models.QuerySet["Cluster"]):
    """Clusters."""

    def in_workspace(self, workspace: Workspace) -> ClusterQuerySet:
        """Those of one workspace that are not gone."""
        return self.filter(workspace=workspace).exclude(status=ClusterStatus.TERMINATED)

    def search(self, text: str) -> ClusterQuerySet:
        """Those whose name contains ``text``."""
        return self.filter(name__icontains=text) if text else self

    def usable(self) -> ClusterQuerySet:
        """Those on which any run can be put: running, paused, or on the way to running."""
        usable = {S.NEW, S.INPROGRESS, S.INITIALIZING, S.RUNNING, S.PAUSING, S.PAUSED}
        return self.filter(status__in=usable, dedicated_to=None).exclude(target__in=[Target.STOPPED, Target.TERMINATED])

    def idle_at(self, at: datetime) -> ClusterQuerySet:
        """Those for which ``idleness.outlook`` names this time or an earlier one, if nothing keeps them alive."""
        running, paused = Q(status=S.RUNNING, target=Target.RUNNING), Q(status=S.PAUSED, target=Target.PAUSED)
        awake = Q(snoozed_until=None) | Q(snoozed_until__lte=at)
        pausing = running & Q(spot=False) & _over("auto_pause_minutes", at)
        over = pausing | ((running | paused) & _over("auto_stop_minutes", at))
        return self.filter(awake, over, _AT_REST, last_activity_at__lt=at)


_AT_REST = Q(status__in=["RUNNING", "PAUSED"], due_at=None, busy_with=None)


def _over(minutes: str, at: datetime) -> Q:
    """So many minutes, of a column, have passed since the last activity."""
    length = ExpressionWrapper(F(minutes) * Value(timedelta(minutes=1)), output_field=DurationField())
    since = ExpressionWrapper(Value(at, output_field=DateTimeField()) - length, output_field=DateTimeField())
    return Q(**{f"{minutes}__gt": 0, "last_activity_at__lte": since})


class Activity(models.TextChoices):
    """What the last use of a cluster was."""

    CREATE = "create", "created"
    RESUME = "resume", "resumed"
    PAUSE = "pause", "paused"
    RESTART = "restart", "restarted"
    STOP = "stop", "stopped"
    DELETE = "delete", "deleted"
    SCALE = "scale", "scaled"
    RUN = "run", "a run"


class Cluster(Reconciled):
    """Machines that run Bodo. ``target`` is what people want, ``status`` how far it is.

    ``instances`` is wanted, ``deployed_instances`` is there. Without a ``zone`` the cloud chooses one; without an
    ``instance_role`` its machines have the workspace's own. ``generation`` grows with each restart and
    ``deployed_generation`` follows. ``busy_with`` is the run that has the cluster to itself;
    ``dedicated_to`` the one for which it was made and with which it is removed. ``running_since`` is when it came from
    rest and ran; ``told_end`` is the end of its lifetime of which people were told.

    ``last_activity_name`` and ``last_activity_id`` are of the person or run; ``last_used_by`` is the last person, also
    by a run. ``announced_for`` is the time of a pause or stop of which somebody was told.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(unique=True, editable=False, db_default=NextNumber("clusters_cluster_number"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="clusters")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    instance_type = models.CharField(max_length=60)
    instances = models.PositiveIntegerField()
    deployed_instances = models.PositiveIntegerField(default=0)
    release = models.CharField(max_length=40)
    spot = models.BooleanField(default=False)
    zone = models.CharField(max_length=60, blank=True)
    instance_role = models.ForeignKey(
        InstanceRole, null=True, blank=True, on_delete=models.PROTECT, related_name="clusters"
    )
    auto_pause_minutes = models.PositiveIntegerField(default=0)
    auto_stop_minutes = models.PositiveIntegerField(default=0)
    max_lifetime_minutes = models.PositiveIntegerField(default=0)
    running_since = models.DateTimeField(null=True, editable=False)
    told_end = models.DateTimeField(null=True, editable=False)
    generation = models.PositiveIntegerField(default=1)
    deployed_generation = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=20, choices=ClusterStatus.choices, default=ClusterStatus.NEW)
    status_at = models.DateTimeField(default=timezone.now)
    target = models.CharField(max_length=20, default=Target.RUNNING.value)
    busy_with = models.UUIDField(null=True, editable=False)
    dedicated_to = models.UUIDField(null=True, editable=False)
    last_activity_at = models.DateTimeField(default=timezone.now)
    last_activity = models.CharField(max_length=20, choices=Activity.choices, blank=True)
    last_activity_name = models.CharField(max_length=300, blank=True)
    last_activity_id = models.UUIDField(null=True, editable=False)
    last_used_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    snoozed_until = models.DateTimeField(null=True, blank=True)
    snoozed_by = models.CharField(max_length=300, blank=True)
    announced_for = models.DateTimeField(null=True, editable=False)
    nodes = models.JSONField(default=list, editable=False)
    ledger_length = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = ClusterQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "workspace", Lower("name"), condition=~Q(status=ClusterStatus.TERMINATED), name="cluster_name_unique"
            ),
            models.CheckConstraint(condition=Q(instances__gte=1), name="cluster_instances_positive"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="cluster_due"),
            models.Index(
                fields=["workspace", "-number"],
                condition=~Q(status=ClusterStatus.TERMINATED),
                name="cluster_by_workspace",
            ),
            models.Index(fields=["status"], condition=Q(status="RUNNING"), name="cluster_running"),
            models.Index(
                fields=["running_since"],
                condition=Q(max_lifetime_minutes__gt=0, running_since__isnull=False),
                name="cluster_lifetime",
            ),
            models.Index(fields=["last_activity_at"], condition=_AT_REST, name="cluster_at_rest"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The cluster's page."""
        return reverse("clusters:detail", args=[self.workspace_id, self.pk])

    def spec(self) -> ClusterSpec:
        """What the cloud should make of it."""
        return ClusterSpec(
            id=str(self.pk),
            name=self.name,
            workspace=self.workspace.spec(),
            workspace_handle=self.workspace.handle,
            instance_type=self.instance_type,
            instances=self.instances,
            release=self.release,
            generation=self.generation,
            spot=self.spot,
            tags=self.tags,
            zone=self.zone,
            instance_role=self.instance_role.handle if self.instance_role else {},
        )

    @property
    def ends_at(self) -> datetime | None:
        """When its maximum lifetime is over; None where it has none, or rests."""
        if not self.max_lifetime_minutes or self.running_since is None:
            return None
        return self.running_since + timedelta(minutes=self.max_lifetime_minutes)

    @property
    def free(self) -> bool:
        """Whether a run may start on it now: running as wanted, and nobody has it."""
        return (
            self.status == ClusterStatus.RUNNING
            and self.target == Target.RUNNING
            and self.busy_with is None
            and self.instances == self.deployed_instances
            and self.generation == self.deployed_generation
        )


class TransitionKind(models.TextChoices):
    """What a line of the ledger says."""

    REQUEST = "REQUEST", "Requested"
    STATUS = "STATUS", "Became"
    SCALED = "SCALED", "Scaled"


class Transition(models.Model):
    """One line of a cluster's ledger, never changed: a request by somebody, a status reached, or a change of size.

    ``seq`` counts from 1 per cluster; the cluster's row lock keeps the count. ``instances`` and ``instance_type`` are
    what was deployed (STATUS, SCALED) or wanted (REQUEST) at that time. ``status`` holds the target for a REQUEST.
    """

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="transitions")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=10, choices=TransitionKind.choices)
    status = models.CharField(max_length=20)
    instance_type = models.CharField(max_length=60)
    instances = models.PositiveIntegerField()
    actor_label = models.CharField(max_length=300)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "seq"], name="transition_seq_unique")]
        ordering = ["cluster", "seq"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.status}"
