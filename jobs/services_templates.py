"""Every write that people make on templates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from clusters.models import Cluster
from jobs.models import JobSchedule, JobTemplate
from jobs.spec import JobSpec, NewCluster, Place
from portal.errors import UserError
from workspaces.catalogs import refuse_gone
from workspaces.models import Workspace

SHOWN = (
    *("name", "description", "code_type", "source_type", "source_location", "source_reference", "file", "sql"),
    *(
        "parameters",
        "arguments",
        "environment_keys",
        "secret_groups",
        "mode",
        "retries",
        "retry_delay_minutes",
        "retry_on_timeout",
    ),
    *("timeout_minutes", "auto_resume", "pause_on_finish", "tags", "new_cluster"),
)
"""What of a template the audit log tells; values of the environment and tokens are secrets."""


@transaction.atomic
def create_template(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    spec: JobSpec,
    place: Place | None = None,
    description: str = "",
) -> JobTemplate:
    """A job with a name. Raises UserError(NameTaken, ClusterGone, CatalogGone)."""
    template = JobTemplate(workspace=workspace, name=name, description=description, created_by=actor.user)
    _put(template, workspace, spec, place)
    _save(template, force_insert=True)
    audit.record(
        actor,
        "template.create",
        template,
        organization=workspace.organization,
        workspace=workspace.name,
        **_shown(template),
    )
    return template


@transaction.atomic
def update_template(
    *,
    actor: Actor,
    template: JobTemplate,
    name: str,
    spec: JobSpec,
    place: Place | None,
    description: str,
) -> JobTemplate:
    """Another definition for the runs to come. Raises UserError(NameTaken, ClusterGone, CatalogGone, TemplateGone)."""
    row = _locked(template)
    before = _shown(row)
    row.name, row.description = name, description
    _put(row, row.workspace, spec, place)
    row.revision += 1
    row.updated_at = timezone.now()
    _save(row)
    after = _shown(row)
    changed = {key for key in after if before[key] != after[key]}
    audit.record(
        actor,
        "template.update",
        row,
        organization=row.workspace.organization,
        workspace=row.workspace.name,
        before={key: before[key] for key in sorted(changed)},
        after={key: after[key] for key in sorted(changed)},
    )
    return row


@transaction.atomic
def delete_template(*, actor: Actor, template: JobTemplate) -> None:
    """Remove a template; its runs stay, and its name is free again. Raises UserError(TemplateGone, TemplateInUse)."""
    row = _locked(template)
    used = list(JobSchedule.objects.in_workspace(row.workspace).filter(template=row).values_list("name", flat=True))
    if used:
        raise UserError(
            "TemplateInUse", f"{row.name} is used by the schedules {', '.join(used)}.", "Delete or change them first."
        )
    row.deleted_at = timezone.now()
    row.save(update_fields=["deleted_at"])
    audit.record(actor, "template.delete", row, organization=row.workspace.organization, workspace=row.workspace.name)


def _locked(template: JobTemplate) -> JobTemplate:
    rows = JobTemplate.objects.select_for_update(of=("self",)).select_related("workspace__organization")
    row = rows.filter(pk=template.pk, deleted_at=None).first()
    if row is None:
        raise UserError("TemplateGone", f"The template {template.name} was deleted meanwhile.", "Create a new one.")
    return row


def _put(template: JobTemplate, workspace: Workspace, spec: JobSpec, place: Place | None) -> None:
    if spec.catalog:
        refuse_gone(workspace, spec.catalog, hold=True)
    template.take(spec)
    template.cluster = template.new_cluster = None
    if isinstance(place, NewCluster):
        template.new_cluster = asdict(place)
    elif place is not None:
        template.cluster = Cluster.objects.in_workspace(workspace).filter(pk=place.pk, dedicated_to=None).first()
        if template.cluster is None:
            raise UserError("ClusterGone", f"The cluster {place.name} is gone.", "Choose another one.")


def _save(template: JobTemplate, **options: Any) -> None:
    try:
        with transaction.atomic():
            template.save(**options)
    except IntegrityError as error:
        if "template_name_unique" not in str(error):
            raise
        raise UserError(
            "NameTaken", "A template of this name exists in the workspace.", "Choose another name."
        ) from None


def _shown(template: JobTemplate) -> dict[str, Any]:
    shown = {key: getattr(template, key) for key in SHOWN}
    return {
        **shown,
        "catalog": template.catalog.name if template.catalog else "",
        "cluster": template.cluster.name if template.cluster else "",
    }
