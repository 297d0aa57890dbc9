"""The columns that a template and a run share: everything that says what is to be run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import models

from jobs.spec import QUERY, CodeType, JobSpec, Retry, Source, SourceType
from portal import crypto
from portal.clouds.base import LaunchMode
from workspaces.models import Catalog, SecretGroup


def _choices(kinds: Iterable[Any]) -> list[tuple[str, str]]:
    return [(kind.value, kind.value) for kind in kinds]


class JobDefinition(models.Model):
    """A job as it is stored. ``environment`` and ``source_token`` are sealed: pages show their names only. So is what
    follows the question mark of an address; ``source_location`` is without it, as people are shown it.

    ``secret_groups`` are ids with the names they had, the later winning over the earlier; their values are read at the
    start of each attempt. So are those of the catalog, of which each model keeps the id in its own way.
    """

    code_type = models.CharField(max_length=10, choices=_choices(CodeType), default=CodeType.PYTHON.value)
    source_type = models.CharField(max_length=10, choices=_choices(SourceType), default=SourceType.WORKSPACE.value)
    source_location = models.CharField(max_length=2000, blank=True)
    source_reference = models.CharField(max_length=250, blank=True)
    source_username = models.CharField(max_length=250, blank=True)
    source_token = models.TextField(blank=True, editable=False)
    file = models.CharField(max_length=1000, blank=True)
    sql = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    arguments = models.JSONField(default=list, blank=True)
    environment = models.TextField(blank=True, editable=False)
    environment_keys = models.JSONField(default=list, blank=True)
    secret_groups = models.JSONField(default=list, blank=True)
    mode = models.CharField(max_length=10, choices=_choices(LaunchMode), default=LaunchMode.SPAWN.value)
    retries = models.PositiveSmallIntegerField(default=0)
    retry_delay_minutes = models.PositiveIntegerField(default=1)
    retry_on_timeout = models.BooleanField(default=False)
    timeout_minutes = models.PositiveIntegerField(default=60)
    auto_resume = models.BooleanField(default=True)
    pause_on_finish = models.BooleanField(default=False)
    tags = models.JSONField(default=dict, blank=True)

    workspace_id: UUID
    catalog_id: UUID | None

    class Meta:
        abstract = True

    def take(self, spec: JobSpec) -> None:
        """Take a job over into the columns. Does not save."""
        self.code_type = spec.code_type.value
        self.source_type = spec.source.type.value
        self.source_location = spec.source.shown
        self.source_reference = spec.source.reference
        self.source_username = spec.source.username
        secrets = {"token": spec.source.token, "query": spec.source.query}
        self.source_token = crypto.seal(secrets) if any(secrets.values()) else ""
        self.file = spec.file
        self.sql = spec.sql
        self.parameters = dict(spec.parameters)
        self.arguments = list(spec.arguments)
        self.environment = crypto.seal(dict(spec.environment)) if spec.environment else ""
        self.environment_keys = sorted(spec.environment)
        self.secret_groups = [{"id": str(group.pk), "name": group.name} for group in spec.secret_groups]
        self.catalog_id = spec.catalog.pk if spec.catalog else None
        self.mode = spec.mode.value
        self.retries = spec.retry.count
        self.retry_delay_minutes = spec.retry.delay_minutes
        self.retry_on_timeout = spec.retry.on_timeout
        self.timeout_minutes = spec.timeout_minutes
        self.auto_resume = spec.auto_resume
        self.pause_on_finish = spec.pause_on_finish
        self.tags = dict(spec.tags)

    def spec(self) -> JobSpec:
        """The job, with its secrets unsealed."""
        return JobSpec(
            code_type=CodeType(self.code_type),
            source=self.source(),
            file=self.file,
            sql=self.sql,
            parameters=self.parameters,
            arguments=self.arguments,
            environment=crypto.unseal(self.environment),
            secret_groups=self.groups(),
            catalog=self.find_catalog(),
            mode=LaunchMode(self.mode),
            retry=Retry(self.retries, self.retry_delay_minutes, self.retry_on_timeout),
            timeout_minutes=self.timeout_minutes,
            auto_resume=self.auto_resume,
            pause_on_finish=self.pause_on_finish,
            tags=self.tags,
        )

    def groups(self) -> list[SecretGroup]:
        """The groups of secrets that are still there, in their order."""
        ids = [given["id"] for given in self.secret_groups]
        found = {str(group.pk): group for group in SecretGroup.objects.filter(workspace=self.workspace_id, pk__in=ids)}
        return [found[each] for each in ids if each in found]

    def find_catalog(self) -> Catalog | None:
        """The catalog; None where there is none, or it was deleted."""
        return (
            Catalog.objects.filter(workspace=self.workspace_id, pk=self.catalog_id).first() if self.catalog_id else None
        )

    def source(self) -> Source:
        """Where the code comes from, with its token and the whole of its address."""
        secrets = crypto.unseal(self.source_token)
        query = secrets.get("query", "")
        return Source(
            SourceType(self.source_type),
            f"{self.source_location.removesuffix(QUERY)}?{query}" if query else self.source_location,
            self.source_reference,
            self.source_username,
            secrets.get("token", ""),
        )
