"""Templates: jobs that are run again and again."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from clusters.models import Cluster
from jobs.models.definition import JobDefinition
from jobs.spec import NewCluster, Place
from portal.models import NextNumber
from workspaces.models import Catalog, Workspace


class JobTemplateQuerySet(models.QuerySet["JobTemplate"]):
    """Templates."""

    def in_workspace(self, workspace: Workspace) -> JobTemplateQuerySet:
        """Those of one workspace that were not deleted."""
        return self.filter(workspace=workspace, deleted_at=None)


class JobTemplate(JobDefinition):
    """A job with a name. It runs on ``cluster``, or on ``new_cluster`` (instance type, instances, release), which is
    made for each run; both may be empty: then whoever runs it chooses. ``revision`` counts its changes. A catalog that
    it names is not deleted before the template is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(unique=True, editable=False, db_default=NextNumber("jobs_template_number"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="templates")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    catalog = models.ForeignKey(Catalog, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    new_cluster = models.JSONField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = JobTemplateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "workspace", Lower("name"), condition=Q(deleted_at=None), name="template_name_unique"
            ),
            models.CheckConstraint(condition=Q(cluster=None) | Q(new_cluster=None), name="template_one_place"),
        ]
        indexes = [
            models.Index(fields=["workspace", "-number"], condition=Q(deleted_at=None), name="template_by_workspace")
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The template's page."""
        return reverse("jobs:template", args=[self.workspace_id, self.pk])

    @property
    def place(self) -> Place | None:
        """Where it runs unless something else is chosen; None where that is left open, or the cluster is gone."""
        if self.new_cluster:
            return NewCluster(**self.new_cluster)
        return self.cluster
