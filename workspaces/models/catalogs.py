"""Catalogs: where SQL finds its tables."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from workspaces.models.workspaces import Workspace


class CatalogKind(models.TextChoices):
    """The kinds of catalogs, as they are named on the wire."""

    FILESYSTEM = "FILESYSTEM", "Workspace files"
    SNOWFLAKE = "SNOWFLAKE", "Snowflake"
    GLUE = "GLUE", "AWS Glue"


class CatalogQuerySet(models.QuerySet["Catalog"]):
    """Catalogs."""

    def in_workspace(self, workspace: Workspace) -> CatalogQuerySet:
        """Those of one workspace, by name."""
        return self.filter(workspace=workspace).order_by(Lower("name"))


class Catalog(models.Model):
    """A place with tables. ``settings`` are in clear, ``sealed`` is what ``portal.crypto`` made of passwords and keys;
    ``workspaces.catalogs`` says which there are for each kind. ``checks`` are those of the last test of the connection,
    made with the settings as they are."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="catalogs")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=12, choices=CatalogKind.choices)
    description = models.CharField(max_length=1000, blank=True)
    settings = models.JSONField(default=dict)
    sealed = models.TextField(blank=True, editable=False)
    checks = models.JSONField(default=list, editable=False)
    tested_at = models.DateTimeField(null=True, editable=False)
    changed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    changed_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    objects = CatalogQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("workspace", Lower("name"), name="catalog_name_unique")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The catalog's page."""
        return reverse("workspaces:catalog", args=[self.workspace_id, self.pk])

    @property
    def location(self) -> str:
        """Where it leads, in a few words."""
        values = self.settings
        match self.kind:
            case CatalogKind.FILESYSTEM:
                return f"/{values['directory']}"
            case CatalogKind.SNOWFLAKE:
                place = ".".join(filter(None, [values["database"], values.get("schema", "")]))
                return f"{values['account']} · {place}"
            case _:
                return f"{values['region']} · {values['warehouse']}"

    @property
    def works(self) -> bool | None:
        """What the last test found; None where there was none since the last change."""
        return all(check["passed"] for check in self.checks) if self.tested_at else None
