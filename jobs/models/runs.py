"""Runs of jobs on clusters, and their attempts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Upper
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.models import User
from clusters.models import Cluster
from jobs.models.definition import JobDefinition
from jobs.models.templates import JobTemplate
from jobs.spec import JobSpec
from portal.models import NextNumber, Reconciled
from workspaces.models import Workspace

if TYPE_CHECKING:
    from jobs.models.schedules import JobSchedule

MAX_QUEUED = 100
"""How many runs may wait for one cluster."""


class RunStatus(models.TextChoices):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"


S = RunStatus
_ENDS = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMEOUT})
TRANSITIONS: dict[str, frozenset[str]] = {
    S.PENDING: frozenset({S.RUNNING, S.FAILED, S.CANCELLED}),
    S.RUNNING: frozenset({S.CANCELLING, S.PENDING}) | _ENDS,
    S.CANCELLING: _ENDS,
    **dict.fromkeys(_ENDS, frozenset()),
}
"""PENDING → RUNNING → an end; back to PENDING where a failed attempt is followed by another."""


class RunReason(models.TextChoices):
    """Why a run is where it is."""

    SUBMITTED = "Submitted", "Recently submitted"
    QUEUED = "Queued", "In queue"
    WAITING = "WaitingForCluster", "Waiting for the cluster"
    FETCHING = "FetchingSource", "Fetching the source"
    RETRYING = "Retrying", "Waiting to try again"
    NONE = "", ""
    NON_ZERO_EXIT = "NonZeroExitCode", "NonZeroExitCode"
    SIGNALLED = "Signalled", "Ended by a signal"
    TIMEOUT = "Timeout", "Timeout"
    CANCELLED = "Cancelled", "Cancelled by user"
    RANK_FAILED = "RankFailed", "One of its ranks failed"
    OUT_OF_MEMORY = "OutOfMemory", "Out of memory"
    DISK_FULL = "DiskFull", "The disk was full"
    NODE_LOST = "NodeLost", "A node of the cluster was lost"
    CLUSTER_PAUSED = "ClusterPaused", "The cluster was paused"
    CLUSTER_STOPPED = "ClusterStopped", "The cluster was stopped"
    CLUSTER_DELETED = "ClusterDeleted", "The cluster was deleted"
    CLUSTER_RESTARTED = "ClusterRestarted", "The cluster was restarted"
    CLUSTER_NOT_AVAILABLE = "ClusterNotAvailable", "The cluster is not available"
    SOURCE_FAILED = "SourceFailed", "The source could not be fetched"
    START_FAILED = "StartFailed", "It could not be started"


_REASONS: dict[str, str] = dict(RunReason.choices)
"""The same as ``get_reason_display``, which hashes all choices for every row."""


class RunTarget(models.TextChoices):
    """What people want of a run."""

    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"


class RunQuerySet(models.QuerySet["Run"]):
    """Runs."""

    def in_workspace(self, workspace: Workspace) -> RunQuerySet:
        """Those of one workspace."""
        return self.filter(workspace=workspace)

    def named(self, text: str) -> RunQuerySet:
        """Those in whose name the text occurs, in any case; one or two letters only where a word begins: no index
        finds them elsewhere."""
        if len(text) > 2:
            return self.filter(name__icontains=text)
        begins = models.Q(name__istartswith=text)
        for between in " -_./":
            begins |= models.Q(name__icontains=between + text)
        return self.filter(begins)

    def queued_on(self, cluster_id: uuid.UUID) -> RunQuerySet:
        """Those waiting for a cluster, first come first. One that waits to try again lets others go first."""
        return self.waiting().filter(cluster_id=cluster_id).order_by("number")

    def waiting(self) -> RunQuerySet:
        """Those that would start if they could."""
        due = Q(not_before=None) | Q(not_before__lte=timezone.now())
        return self.filter(due, status=RunStatus.PENDING)

    def active_of(self, schedule: JobSchedule) -> RunQuerySet:
        """Those of one schedule that have not ended."""
        return self.filter(schedule=schedule).exclude(status__in=_ENDS)

    def active(self) -> RunQuerySet:
        """Those with a process."""
        return self.filter(status__in=[RunStatus.RUNNING, RunStatus.CANCELLING])


class Run(Reconciled, JobDefinition):
    """One job on a cluster, from its submission to its end. ``handle`` is the reference of the process of its newest
    attempt. ``number`` is the place in the queue of its cluster.

    What it runs was copied at submission: a template that changes later changes no run. ``instance_type`` and
    ``instances`` are those of the cluster when the newest attempt started. ``catalog_id`` and ``catalog_name`` say what
    it was given, also of a catalog that was deleted since: so there is no foreign key.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(unique=True, editable=False, db_default=NextNumber("jobs_run_number"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="runs")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="runs")
    template = models.ForeignKey(JobTemplate, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    template_revision = models.PositiveIntegerField(null=True, blank=True)
    schedule = models.ForeignKey(
        "jobs.JobSchedule", null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    name = models.CharField(max_length=100)
    catalog_id = models.UUIDField(null=True, blank=True)
    catalog_name = models.CharField(max_length=100, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    not_before = models.DateTimeField(null=True, blank=True)
    workers = models.PositiveIntegerField(default=0)
    instance_type = models.CharField(max_length=60, blank=True)
    instances = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=12, choices=RunStatus.choices, default=RunStatus.PENDING)
    target = models.CharField(max_length=12, choices=RunTarget.choices, default=RunTarget.FINISHED)
    reason = models.CharField(max_length=30, choices=RunReason.choices, default=RunReason.SUBMITTED, blank=True)
    exit_code = models.IntegerField(null=True)
    detail = models.CharField(max_length=500, blank=True)
    requested_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cluster"], condition=Q(status__in=["RUNNING", "CANCELLING"]), name="run_one_per_cluster"
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="run_due"),
            models.Index(fields=["workspace", "-number"], name="run_by_workspace"),
            models.Index(fields=["workspace", "status", "-number"], name="run_by_status"),
            models.Index(fields=["cluster", "number"], condition=Q(status="PENDING"), name="run_queue"),
            models.Index(fields=["cluster", "-number"], name="run_by_cluster"),
            models.Index(fields=["template", "-number"], name="run_by_template"),
            models.Index(fields=["schedule", "-number"], name="run_by_schedule"),
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="run_by_name"),  # for ``name__icontains``
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The run's page."""
        return f"{_jobs_of(self.workspace_id)}{self.pk}/"

    def take(self, spec: JobSpec) -> None:
        """Take a job over into the columns. Does not save."""
        super().take(spec)
        self.catalog_name = spec.catalog.name if spec.catalog else ""

    @property
    def process_id(self) -> str:
        """By which the cloud knows the process of the newest attempt, before and after it was started."""
        return str(self.pk) if self.attempt == 1 else f"{self.pk}-{self.attempt}"

    @property
    def ended(self) -> bool:
        """True once nothing will change any more."""
        return self.status in _ENDS

    @property
    def why(self) -> str:
        """Why it is where it is, as people read it in a list; empty where the status says it all."""
        if not self.reason or self.status == RunStatus.SUCCEEDED:
            return ""
        reason = _REASONS.get(self.reason, self.reason)
        place = self.queue_position if self.status == RunStatus.PENDING else None
        return f"{reason} · position {place}" if place else reason

    @property
    def duration(self) -> timedelta | None:
        """How long the process ran, or has run so far; None before it started."""
        if self.started_at is None:
            return None
        return (self.ended_at or timezone.now()) - self.started_at

    @cached_property
    def queue_position(self) -> int | None:
        """1 for the next to start; None once it has started. ``find_queue_positions`` asks for many at once."""
        if self.status != RunStatus.PENDING or self.reason == RunReason.RETRYING:
            return None
        return Run.objects.queued_on(self.cluster_id).filter(number__lte=self.number).count()


class RunAttemptQuerySet(models.QuerySet["RunAttempt"]):
    """Attempts."""

    def of(self, run: Run) -> RunAttemptQuerySet:
        """Those of one run, newest first."""
        return self.filter(run=run).order_by("-number")


class RunAttempt(models.Model):
    """One process of a run: made when it has started, closed when its exit was found.

    ``commit`` is what a git source was at; ``digest`` is the SHA-256 of the file or bundle that ran. ``detail`` says in
    a sentence how it ended.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempt_rows")
    number = models.PositiveSmallIntegerField()
    handle = models.JSONField(default=dict, editable=False)
    workers = models.PositiveIntegerField(default=0)
    commit = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=12, choices=RunStatus.choices, default=RunStatus.RUNNING)
    reason = models.CharField(max_length=30, choices=RunReason.choices, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    secrets = models.TextField(blank=True, editable=False, help_text="What its logs must not show, sealed.")

    objects = RunAttemptQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="attempt_unique")]

    def __str__(self) -> str:
        return f"{self.run}, attempt {self.number}"


@lru_cache(1000)
def _jobs_of(workspace_id: uuid.UUID) -> str:
    """The address of a workspace's runs. To ask ``reverse`` for each of them is a tenth of a list's time."""
    return reverse("jobs:list", args=[workspace_id])


def find_queue_positions(runs: Iterable[Run]) -> None:
    """Set ``queue_position`` of all that wait, with one query."""
    waiting = [run for run in runs if run.status == RunStatus.PENDING and run.reason != RunReason.RETRYING]
    if not waiting:
        return
    before = Run.objects.waiting().filter(cluster=OuterRef("cluster"), number__lte=OuterRef("number")).order_by()
    position = Subquery(before.values("cluster").annotate(count=Count("pk")).values("count"))
    found = Run.objects.filter(pk__in=[run.pk for run in waiting]).annotate(position=position)
    positions = dict(found.values_list("pk", "position"))
    for run in waiting:
        run.queue_position = positions.get(run.pk)
