"""Every write that people make on schedules."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from jobs import cron as clock
from jobs import services
from jobs.models import CatchUp, JobSchedule, JobTemplate, Run
from portal.errors import UserError
from workspaces.models import Workspace

SHOWN = ("name", "description", "cron", "timezone", "max_concurrent", "catch_up", "enabled")


@transaction.atomic
def create_schedule(
    *,
    actor: Actor,
    workspace: Workspace,
    template: JobTemplate,
    name: str,
    cron: str,
    timezone_name: str = "UTC",
    max_concurrent: int = 1,
    catch_up: CatchUp = CatchUp.NONE,
    enabled: bool = True,
    description: str = "",
) -> JobSchedule:
    """A schedule. Raises UserError(NameTaken, CronInvalid, TimeZoneUnknown, TemplateGone, NoCluster)."""
    schedule = JobSchedule(workspace=workspace, created_by=actor.user)
    values = {
        "name": name,
        "description": description,
        "cron": cron,
        "timezone": timezone_name,
        "max_concurrent": max_concurrent,
        "catch_up": catch_up,
        "enabled": enabled,
    }
    _put(schedule, template, values)
    _save(schedule, force_insert=True)
    _record(actor, "schedule.create", schedule, **_shown(schedule))
    return schedule


@transaction.atomic
def update_schedule(*, actor: Actor, schedule: JobSchedule, template: JobTemplate, **changes: Any) -> JobSchedule:
    """Another plan, from now on: what was due before is not caught up.

    ``changes`` are fields of SHOWN. Raises UserError as ``create_schedule`` does, and ScheduleGone.
    """
    row = _locked(schedule)
    before = _shown(row)
    _put(row, template, changes)
    row.updated_at = timezone.now()
    _save(row)
    after = _shown(row)
    changed = sorted(key for key in after if before[key] != after[key])
    _record(
        actor,
        "schedule.update",
        row,
        before={key: before[key] for key in changed},
        after={key: after[key] for key in changed},
    )
    return row


@transaction.atomic
def set_schedule_enabled(*, actor: Actor, schedule: JobSchedule, enabled: bool) -> None:
    """Switch a schedule on or off. What was due while it was off is not caught up. Raises UserError(ScheduleGone)."""
    row = _locked(schedule)
    if row.enabled == enabled:
        return
    _put(row, row.template, {"enabled": enabled})
    row.save(update_fields=["enabled", "next_fire_at"])
    _record(actor, "schedule.enable" if enabled else "schedule.disable", row)


@transaction.atomic
def delete_schedule(*, actor: Actor, schedule: JobSchedule) -> None:
    """Remove a schedule; its runs stay. Raises UserError(ScheduleGone)."""
    row = _locked(schedule)
    row.deleted_at, row.next_fire_at = timezone.now(), None
    row.save(update_fields=["deleted_at", "next_fire_at"])
    _record(actor, "schedule.delete", row)


@transaction.atomic
def run_schedule_now(*, actor: Actor, schedule: JobSchedule) -> Run:
    """Submit the schedule's job once more, besides its plan. Raises UserError as ``submit_run`` does."""
    row = _locked(schedule)
    run = services.submit_template(actor=actor, template=row.template, schedule=row)
    _record(actor, "schedule.run_now", row, run=str(run.pk))
    return run


def _locked(schedule: JobSchedule) -> JobSchedule:
    rows = JobSchedule.objects.select_for_update(of=("self",)).select_related("workspace__organization", "template")
    row = rows.filter(pk=schedule.pk, deleted_at=None).first()
    if row is None:
        raise UserError("ScheduleGone", f"The schedule {schedule.name} was deleted meanwhile.", "Create a new one.")
    return row


def _put(schedule: JobSchedule, template: JobTemplate, values: dict[str, Any]) -> None:
    for field, value in values.items():
        setattr(schedule, field, value)
    found = JobTemplate.objects.in_workspace(schedule.workspace).filter(pk=template.pk).first()
    if found is None:
        raise UserError("TemplateGone", f"The template {template.name} was deleted.", "Choose another one.")
    if found.place is None:
        raise UserError(
            "NoCluster",
            f"The template {found.name} does not say where it runs.",
            "Give it a cluster, or let it make one for each run.",
            status=422,
        )
    schedule.template = found
    schedule.cron = clock.check(schedule.cron)
    clock.zone(schedule.timezone)
    schedule.next_fire_at = None
    if schedule.enabled:
        schedule.next_fire_at = clock.next_fire(schedule.cron, schedule.timezone, timezone.now())


def _save(schedule: JobSchedule, **options: Any) -> None:
    try:
        with transaction.atomic():
            schedule.save(**options)
    except IntegrityError as error:
        if "schedule_name_unique" not in str(error):
            raise
        raise UserError(
            "NameTaken", "A schedule of this name exists in the workspace.", "Choose another name."
        ) from None


def _shown(schedule: JobSchedule) -> dict[str, Any]:
    return {key: getattr(schedule, key) for key in SHOWN} | {"template": schedule.template.name}


def _record(actor: Actor, verb: str, schedule: JobSchedule, **detail: Any) -> None:
    place = schedule.workspace
    audit.record(actor, verb, schedule, organization=place.organization, workspace=place.name, **detail)
