"""Each write of the jobs app as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs import services
from jobs.models import JobSchedule
from jobs.services_schedules import (
    create_schedule,
    delete_schedule,
    run_schedule_now,
    set_schedule_enabled,
    update_schedule,
)
from jobs.services_templates import create_template, delete_template, update_template
from jobs.spec import JobSpec, Source
from tests.factories import make_template
from tests.pages.world import Tenants


def _schedule(t: Tenants) -> JobSchedule:
    template = make_template(t.lab.workspace, cluster=t.lab.cluster)
    return JobSchedule.objects.create(workspace=t.lab.workspace, template=template, name="n", cron="0 3 * * *")


SECRETIVE = JobSpec(file="job.py", environment={"TOKEN": "not-in-any-log"}, source=Source(token="not-in-any-log"))
WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "jobs.services.submit_run": (
        "run.submit",
        lambda t, by: services.submit_run(
            **by, workspace=t.lab.workspace, name="run", spec=SECRETIVE, place=t.lab.cluster
        ),
    ),
    "jobs.services.submit_template": (
        "run.submit",
        lambda t, by: services.submit_template(**by, template=make_template(t.lab.workspace, cluster=t.lab.cluster)),
    ),
    "jobs.services.cancel_run": ("run.cancel", lambda t, by: services.cancel_run(**by, run=t.lab.run)),
    "jobs.services_templates.create_template": (
        "template.create",
        lambda t, by: create_template(**by, workspace=t.lab.workspace, name="monthly", spec=SECRETIVE),
    ),
    "jobs.services_templates.update_template": (
        "template.update",
        lambda t, by: update_template(
            **by, template=make_template(t.lab.workspace), name="x", spec=SECRETIVE, place=None, description=""
        ),
    ),
    "jobs.services_templates.delete_template": (
        "template.delete",
        lambda t, by: delete_template(**by, template=make_template(t.lab.workspace)),
    ),
    "jobs.services_schedules.create_schedule": (
        "schedule.create",
        lambda t, by: create_schedule(
            **by,
            workspace=t.lab.workspace,
            template=make_template(t.lab.workspace, cluster=t.lab.cluster),
            name="monthly",
            cron="0 3 * * *",
        ),
    ),
    "jobs.services_schedules.update_schedule": (
        "schedule.update",
        lambda t, by: update_schedule(**by, schedule=(made := _schedule(t)), template=made.template, name="x"),
    ),
    "jobs.services_schedules.set_schedule_enabled": (
        "schedule.disable",
        lambda t, by: set_schedule_enabled(**by, schedule=_schedule(t), enabled=False),
    ),
    "jobs.services_schedules.delete_schedule": (
        "schedule.delete",
        lambda t, by: delete_schedule(**by, schedule=_schedule(t)),
    ),
    "jobs.services_schedules.run_schedule_now": (
        "schedule.run_now",
        lambda t, by: run_schedule_now(**by, schedule=_schedule(t)),
    ),
}
MAKES_ITS_OWN = ("update_template", "delete_template", "_schedule", "run_schedule_now", "_enabled")
