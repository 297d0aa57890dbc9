"""Notebook servers, and how their owners come in."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from portal.clouds.base import NotebookSpec, Target
from portal.crypto import unseal
from portal.models import Reconciled
from workspaces.models import Workspace


class NotebookStatus(models.TextChoices):
    """Where a notebook server stands."""

    NEW = "NEW"
    INPROGRESS = "INPROGRESS"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


S = NotebookStatus
_LEAVING = frozenset({S.STOPPING, S.TERMINATING})
TRANSITIONS: dict[str, frozenset[str]] = {
    S.NEW: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.INPROGRESS: frozenset({S.RUNNING, S.FAILED}) | _LEAVING,
    S.RUNNING: frozenset({S.INPROGRESS, S.FAILED}) | _LEAVING,
    S.STOPPING: frozenset({S.STOPPED, S.INPROGRESS, S.TERMINATING}),
    S.STOPPED: frozenset({S.INPROGRESS, S.STOPPING, S.TERMINATING}),
    S.FAILED: frozenset({S.INPROGRESS}) | _LEAVING,
    S.TERMINATING: frozenset({S.TERMINATED}),
    S.TERMINATED: frozenset(),
}
"""NEW → INPROGRESS → RUNNING → STOPPING → STOPPED and back, and from anywhere to TERMINATED."""


class NotebookServerQuerySet(models.QuerySet["NotebookServer"]):
    """Notebook servers."""

    def in_workspace(self, workspace: Workspace) -> NotebookServerQuerySet:
        """Those of one workspace that are not gone."""
        return self.filter(workspace=workspace).exclude(status=S.TERMINATED)

    def of(self, workspace: Workspace, user: User) -> NotebookServer | None:
        """A person's own in a workspace, if there is one."""
        return self.in_workspace(workspace).filter(user=user).first()


class NotebookServer(Reconciled):
    """A Jupyter server for one person in one workspace. Nobody but ``user`` ever enters it.

    ``target`` is what is wanted, ``status`` how far it is. ``generation`` grows with each start and
    ``deployed_generation`` follows. ``last_activity_at`` is when a cell, a terminal or a save last did something;
    ``busy`` says that a cell runs. ``sealed`` is the secret that the server asks of the portal.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="notebook_servers")
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="notebook_servers")
    image = models.CharField(max_length=40)
    size = models.CharField(max_length=40)
    idle_stop_minutes = models.PositiveIntegerField(default=60)
    generation = models.PositiveIntegerField(default=1)
    deployed_generation = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=20, choices=NotebookStatus.choices, default=NotebookStatus.NEW)
    target = models.CharField(max_length=20, default=Target.RUNNING.value)
    last_activity_at = models.DateTimeField(default=timezone.now)
    busy = models.BooleanField(default=False)
    stopped_by = models.CharField(max_length=20, blank=True)
    sealed = models.TextField(editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    objects = NotebookServerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "user"], condition=~Q(status="TERMINATED"), name="notebook_one_for_each"
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="notebook_due"),
            models.Index(fields=["status"], condition=Q(status="RUNNING"), name="notebook_running"),
        ]

    def __str__(self) -> str:
        return f"Notebook server of {self.user or 'nobody'}"

    @property
    def path(self) -> str:
        """Where it is on the notebooks' host."""
        return f"/notebooks/{self.pk}/"

    def spec(self) -> NotebookSpec:
        """What the cloud should make of it."""
        return NotebookSpec(
            id=str(self.pk),
            workspace=self.workspace.spec(),
            workspace_handle=self.workspace.handle,
            image=self.image,
            size=self.size,
            generation=self.generation,
            path=self.path,
            secret=unseal(self.sealed).get("secret", ""),
            person=str(self.user or ""),
        )

    @property
    def stops_at(self) -> datetime | None:
        """When it is stopped if nothing happens; None where nothing does by itself."""
        at_rest = self.status == S.RUNNING and self.target == Target.RUNNING and self.due_at is None
        if not at_rest or self.busy or not self.idle_stop_minutes:
            return None
        return self.last_activity_at + timedelta(minutes=self.idle_stop_minutes)


class NotebookTicket(models.Model):
    """The right to come to a server once, within seconds: what the portal hands over to the notebooks' host. Used when
    it is found; then the row is gone."""

    server = models.ForeignKey(NotebookServer, on_delete=models.CASCADE, related_name="tickets")
    key_hash = models.CharField(max_length=64, unique=True)
    session_key = models.CharField(max_length=40)
    made_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Ticket for {self.server_id}"


class NotebookVisit(models.Model):
    """A browser that came in: what its cookie on the notebooks' host stands for. It holds for as long as the sign-in on
    the portal from which it came."""

    server = models.ForeignKey(NotebookServer, on_delete=models.CASCADE, related_name="visits")
    key_hash = models.CharField(max_length=64, unique=True)
    session_key = models.CharField(max_length=40)
    came_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["session_key"], name="notebook_visit_session")]

    def __str__(self) -> str:
        return f"Visit to {self.server_id}"
