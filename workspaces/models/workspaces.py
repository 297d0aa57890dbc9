"""Workspaces and their members."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User, named
from accounts.permissions import WorkspaceRole
from portal.clouds.base import Target, WorkspaceSpec
from portal.models import Reconciled
from workspaces.models.clouds import CloudConfiguration
from workspaces.models.networks import NetworkConfiguration


class WorkspaceStatus(models.TextChoices):
    """Where a workspace's deployment stands."""

    NEW = "NEW"
    INPROGRESS = "INPROGRESS"
    READY = "READY"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


S = WorkspaceStatus
TRANSITIONS: dict[str, frozenset[str]] = {
    S.NEW: frozenset({S.INPROGRESS, S.READY, S.FAILED, S.TERMINATING, S.TERMINATED}),
    S.INPROGRESS: frozenset({S.READY, S.FAILED, S.TERMINATING, S.TERMINATED}),
    S.READY: frozenset({S.TERMINATING, S.TERMINATED}),
    S.FAILED: frozenset({S.INPROGRESS, S.READY, S.TERMINATING, S.TERMINATED}),
    S.TERMINATING: frozenset({S.TERMINATED, S.FAILED}),
    S.TERMINATED: frozenset(),
}


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    """Workspaces."""

    def in_organization(self, organization: Organization) -> WorkspaceQuerySet:
        """Those of one organization that are not gone, by name."""
        return self.filter(organization=organization).exclude(status=WorkspaceStatus.TERMINATED).order_by("name")

    def visible_to(self, user: User, *, everything: bool) -> WorkspaceQuerySet:
        """Those that a person may enter: all for an OWNER or ADMIN (``everything``), else by membership."""
        return self if everything else self.filter(memberships__user=user)


class Workspace(Reconciled):
    """A shared filesystem and a network, with members of its own. The tenant of clusters and runs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="workspaces")
    cloud_configuration = models.ForeignKey(CloudConfiguration, on_delete=models.PROTECT, related_name="workspaces")
    name = models.CharField(max_length=100)
    region = models.CharField(max_length=40)
    network = models.ForeignKey(
        NetworkConfiguration, null=True, blank=True, on_delete=models.PROTECT, related_name="workspaces"
    )
    status = models.CharField(max_length=20, choices=WorkspaceStatus.choices, default=WorkspaceStatus.NEW)
    target = models.CharField(max_length=20, default=Target.RUNNING.value)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    members = models.ManyToManyField(User, through="WorkspaceMembership", related_name="workspaces")

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("name"),
                condition=~Q(status=WorkspaceStatus.TERMINATED),
                name="workspace_name_unique",
            )
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="workspace_due")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The page that entering the workspace opens; the list of workspaces while it cannot be entered."""
        if self.status != WorkspaceStatus.READY:
            return reverse("workspaces:list", args=[self.organization_id])
        return reverse("workspaces:enter", args=[self.pk])

    @property
    def has_notebooks(self) -> bool:
        """Whether its cloud has notebook servers, and the operator gave them a host of their own."""
        from workspaces.clouds import cloud_of

        return bool(settings.PORTAL_NOTEBOOK_HOST) and cloud_of(self.cloud_configuration).features.notebooks

    def spec(self) -> WorkspaceSpec:
        """What the cloud should make of it."""
        network = self.network.network() if self.network else None
        return WorkspaceSpec(id=str(self.pk), name=self.name, region=self.region, network=network)


class WorkspaceMembershipQuerySet(models.QuerySet["WorkspaceMembership"]):
    """Memberships of workspaces."""

    def in_workspace(self, workspace: Workspace) -> WorkspaceMembershipQuerySet:
        """Those of one workspace, with their users, by name."""
        rows = self.filter(workspace=workspace).select_related("user")
        return rows.order_by("user__first_name", "user__last_name", "user__email")

    def search(self, text: str) -> WorkspaceMembershipQuerySet:
        """Those in whose name or e-mail address each word occurs, in any case."""
        return self.filter(named(text))


class WorkspaceMembership(models.Model):
    """A user's place in a workspace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="workspace_memberships")
    role = models.CharField(max_length=20, choices=WorkspaceRole.choices)
    joined_at = models.DateTimeField(default=timezone.now)

    objects = WorkspaceMembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="workspace_membership_unique")]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace}: {self.get_role_display()}"
