"""Secrets: environment variables for jobs, whose values are sealed and never shown again."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import User
from workspaces.models.workspaces import Workspace


class SecretGroupQuerySet(models.QuerySet["SecretGroup"]):
    """Groups of secrets."""

    def in_workspace(self, workspace: Workspace) -> SecretGroupQuerySet:
        """Those of one workspace, by name."""
        return self.filter(workspace=workspace).order_by(Lower("name"))


class SecretGroup(models.Model):
    """Secrets that are given to a job together."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="secret_groups")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = SecretGroupQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("workspace", Lower("name"), name="secret_group_name_unique")]

    def __str__(self) -> str:
        return self.name


class SecretQuerySet(models.QuerySet["Secret"]):
    """Secrets."""

    def in_workspace(self, workspace: Workspace) -> SecretQuerySet:
        """Those of one workspace, by name."""
        return self.filter(group__workspace=workspace).order_by(Lower("name"))


class Secret(models.Model):
    """Keys with their values. ``sealed`` is the mapping as ``portal.crypto`` seals it; ``keys`` are its names, sorted.

    ``kind`` is a word of the client's own (``secretType`` on the wire) and means nothing to the platform.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    group = models.ForeignKey(SecretGroup, on_delete=models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=40, blank=True)
    sealed = models.TextField(editable=False)
    keys = models.JSONField(default=list, editable=False)
    changed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    changed_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    objects = SecretQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("group", Lower("name"), name="secret_name_unique")]

    def __str__(self) -> str:
        return f"{self.group.name}/{self.name}"
