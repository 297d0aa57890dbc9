"""Templates and schedules for the museum, in all the states that people see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from clusters.models import Cluster
from jobs.models import CatchUp, FireOutcome, JobSchedule, JobTemplate, Run, RunAttempt, ScheduleFire
from jobs.services_schedules import create_schedule, set_schedule_enabled
from jobs.services_templates import create_template
from jobs.spec import JobSpec, NewCluster, Retry, Source, SourceType
from tests.factories import actor, make_run
from workspaces.models import Catalog


def fill_jobs(owner: User, cluster: Cluster) -> dict[str, Any]:
    """Templates (of a file, a repository, a bucket, one without a cluster), two schedules, a run with attempts."""
    who, workspace = actor(owner), cluster.workspace
    daily = create_template(
        actor=who,
        workspace=workspace,
        name="Daily revenue",
        description="Loads the orders of the day before",
        spec=JobSpec(
            file="daily_revenue.py",
            arguments=["--day", "yesterday"],
            catalog=Catalog.objects.in_workspace(workspace).get(name="lake"),
            environment={"API_TOKEN": "not shown"},
            retry=Retry(count=2, delay_minutes=5),
            tags={"team": "data"},
        ),
        place=cluster,
    )
    create_template(
        actor=who,
        workspace=workspace,
        name="Train the forecast",
        spec=JobSpec(
            source=Source(SourceType.GIT, "https://git.example.org/team/forecast.git", "v2.1", "ci", "not shown"),
            file="train.py",
        ),
        place=NewCluster("local.2x", 2, cluster.release),
    )
    create_template(
        actor=who,
        workspace=workspace,
        name="Check the tables",
        spec=JobSpec(source=Source(SourceType.S3, "s3://northwind-jobs/checks/", "eu-central-1"), file="check.py"),
    )
    create_template(
        actor=who,
        workspace=workspace,
        name="Shared by a partner",
        spec=JobSpec(source=Source(SourceType.URL, "https://files.example.org/jobs/shared.py?signature=not+shown")),
    )
    nightly = create_schedule(
        actor=who,
        workspace=workspace,
        template=daily,
        name="Every night",
        cron="30 2 * * *",
        timezone_name="Europe/Berlin",
        catch_up=CatchUp.LATEST,
        description="Before the first report",
    )
    off = create_schedule(actor=who, workspace=workspace, template=daily, name="Hourly", cron="0 * * * *")
    set_schedule_enabled(actor=who, schedule=off, enabled=False)
    run = _history(cluster, daily, nightly)
    return {"template": str(daily.pk), "schedule": str(nightly.pk), "retried_run": str(run.pk)}


def _history(cluster: Cluster, template: JobTemplate, schedule: JobSchedule) -> Run:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    fields: dict[str, Any] = {
        "template": template,
        "template_revision": 1,
        "schedule": schedule,
        "name": template.name,
        "file": template.file,
        "retries": 2,
        "status": "SUCCEEDED",
        "reason": "",
        "attempt": 3,
        "exit_code": 0,
        "due_at": None,
        "workers": 4,
        "instances": 2,
        "instance_type": cluster.instance_type,
        "started_at": now - timedelta(minutes=40),
        "ended_at": now - timedelta(minutes=5),
    }
    run = make_run(cluster, **fields)
    ends = [
        ("FAILED", "NonZeroExitCode", "Exit code 3."),
        ("FAILED", "OutOfMemory", "All 4 GB were used."),
        ("SUCCEEDED", "", ""),
    ]
    for number, (status, reason, detail) in enumerate(ends, start=1):
        RunAttempt.objects.create(
            run=run,
            number=number,
            handle={"run": "nowhere", "node": "nowhere"},
            workers=4,
            digest="5e" * 32,
            started_at=now - timedelta(minutes=50 - 10 * number),
            ended_at=now - timedelta(minutes=45 - 10 * number),
            status=status,
            reason=reason,
            exit_code=None if reason == "OutOfMemory" else 3 if reason else 0,
            detail=detail,
        )
    outcomes = [
        (FireOutcome.STARTED, run, 0, ""),
        (FireOutcome.SKIPPED, None, 0, "1 run was under way, and at most 1 may be."),
        (
            FireOutcome.MISSED,
            None,
            3,
            "3 of its times were not fired: the scheduler was not there until 06:00 UTC.",
        ),
        (FireOutcome.FAILED, None, 0, "The cluster is stopped, failed or gone. Choose another, or resume it."),
    ]
    for days, (outcome, submitted, missed, detail) in enumerate(outcomes, start=1):
        ScheduleFire.objects.create(
            schedule=schedule,
            fire_at=now - timedelta(days=days),
            outcome=outcome,
            run=submitted,
            missed=missed,
            detail=detail,
        )
    return run
