"""Roles of the customer's own, which machines of clusters can be given."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import User
from portal.clouds.base import InstanceRoleSpec, Target
from portal.models import Reconciled
from workspaces.models.workspaces import Workspace


class InstanceRoleStatus(models.TextChoices):
    """Where the registration of a role stands."""

    NEW = "NEW"
    INPROGRESS = "INPROGRESS"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


S = InstanceRoleStatus
ROLE_TRANSITIONS: dict[str, frozenset[str]] = {
    S.NEW: frozenset({S.INPROGRESS, S.ACTIVE, S.FAILED, S.TERMINATING}),
    S.INPROGRESS: frozenset({S.ACTIVE, S.FAILED, S.TERMINATING}),
    S.ACTIVE: frozenset({S.TERMINATING}),
    S.FAILED: frozenset({S.INPROGRESS, S.ACTIVE, S.TERMINATING}),
    S.TERMINATING: frozenset({S.TERMINATED}),
    S.TERMINATED: frozenset(),
}


class InstanceRoleQuerySet(models.QuerySet["InstanceRole"]):
    """Instance roles."""

    def in_workspace(self, workspace: Workspace) -> InstanceRoleQuerySet:
        """Those of one workspace that are not gone, by name."""
        return self.filter(workspace=workspace).exclude(status=InstanceRoleStatus.TERMINATED).order_by(Lower("name"))

    def usable(self) -> InstanceRoleQuerySet:
        """Those that a cluster can be given."""
        return self.filter(status=InstanceRoleStatus.ACTIVE, target=Target.RUNNING)


class InstanceRole(Reconciled):
    """A role that exists in the customer's account (``role`` is what the cloud calls it), registered for the clusters
    of a workspace. The platform attaches to it what machines need."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="instance_roles")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=500)
    description = models.CharField(max_length=1000, blank=True)
    status = models.CharField(max_length=20, choices=InstanceRoleStatus.choices, default=InstanceRoleStatus.NEW)
    target = models.CharField(max_length=20, default=Target.RUNNING.value)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = InstanceRoleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "workspace",
                Lower("name"),
                condition=~Q(status=InstanceRoleStatus.TERMINATED),
                name="instance_role_name_unique",
            )
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="instance_role_due")]

    def __str__(self) -> str:
        return self.name

    def spec(self) -> InstanceRoleSpec:
        """What the cloud should make of it."""
        return InstanceRoleSpec(
            id=str(self.pk), workspace=self.workspace.spec(), workspace_handle=self.workspace.handle, role=self.role
        )
