"""Templates and schedules for the museum, in all the states that people see."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
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
    return {
        "template": str(daily.pk),
        "schedule": str(nightly.pk),
        "retried_run": str(run.pk),
        "query_run": str(_query(cluster).pk),
        "notebook_run": str(_notebook(cluster).pk),
    }


QUERY = """\
-- Revenue of each customer since a day
select c.name, c.country, count(*) as orders, sum(o.price) as revenue
from sales.orders o join sales.customers c on c.id = o.customer
where o.day >= @since and o.status <> @without
group by c.name, c.country
order by revenue desc"""
COLUMNS = {
    "name": "VARCHAR",
    "country": "VARCHAR",
    "orders": "BIGINT",
    "revenue": "DECIMAL(18, 2)",
}


def _query(cluster: Cluster) -> Run:
    """One that gave more rows than a page shows."""
    fields = {"code_type": "SQL", "source_type": "SQL", "file": "", "sql": QUERY}
    run = _ended(
        cluster, "Revenue by customer", "SUCCEEDED", **fields, parameters={"since": "2026-01-01", "without": "X"}
    )
    rows = [
        [f"Customer {at:04}", None if at % 7 == 3 else "Portugal", 9000 - 7 * at, f"{91234.5 - 80 * at:.2f}"]
        for at in range(1000)
    ]
    schema = [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
    _leave(run, "result.json", json.dumps({"rows": 1_204_318, "schema": schema}))
    _leave(run, "preview.json", json.dumps({"columns": list(COLUMNS), "rows": rows}))
    _leave(run, "result/part-00000.parquet", "x" * 1_400_000)
    _leave(run, "result/part-00001.parquet", "x" * 1_300_000)
    return run


def _notebook(cluster: Cluster) -> Run:
    """One that a cell failed in."""
    said = "Cell 7 failed: KeyError: 'price'"
    fields = {"code_type": "IPYNB", "file": "reports/weekly.ipynb", "arguments": ["week=47", "region=north"]}
    run = _ended(cluster, "Weekly report", "FAILED", **fields, reason="NonZeroExitCode", exit_code=1, detail=said)
    _leave(run, "weekly.ipynb", "x" * 48_000)
    return run


def _ended(cluster: Cluster, name: str, status: str, **fields: Any) -> Run:
    now = timezone.now().replace(second=0, microsecond=0)
    times = {"started_at": now - timedelta(minutes=9), "ended_at": now - timedelta(minutes=7)}
    size = {"workers": 4, "instances": 2, "instance_type": cluster.instance_type}
    values = {"exit_code": 0, "reason": "", "due_at": None, **size, **fields}
    run = make_run(cluster, name=name, status=status, **times, **values)
    handle = {"run": f"ended/{run.pk}", "node": "nowhere"}
    RunAttempt.objects.create(run=run, number=1, handle=handle, status=status, digest="5e" * 32, workers=4, **times)
    return run


def _leave(run: Run, path: str, content: str) -> None:
    root = Path(run.workspace.cloud_configuration.settings["directory"])
    file = root / "ended" / str(run.pk) / "output" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


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
