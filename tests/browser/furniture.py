"""Fills the stage, in a process of its own with the stage's settings: ``python -m tests.browser.furniture TENANTS``.

Prints JSON: tenants to take, and the museum, an organization in which every page has something to show: names that are
as long as they can be, every status, a failure, a run with colours in its log, a month on the bill.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import django

django.setup()

from django.contrib.auth import base_user  # noqa: E402 - models can be imported only now
from django.contrib.auth.hashers import make_password  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import Organization, User  # noqa: E402
from accounts.permissions import OrganizationRole, WorkspaceRole  # noqa: E402
from billing import metering  # noqa: E402
from billing.models import UsageInterval  # noqa: E402
from billing.statements import close_due, last_closable  # noqa: E402
from clusters import services as clusters  # noqa: E402
from clusters.models import Cluster, Transition, TransitionKind  # noqa: E402
from jobs import services as jobs  # noqa: E402
from jobs.models import Run  # noqa: E402
from jobs.spec import JobSpec  # noqa: E402
from portal.clouds.base import LaunchMode  # noqa: E402
from portal.models import DeploymentEvent  # noqa: E402
from tests.browser.furniture_alarms import fill_alarms  # noqa: E402
from tests.browser.furniture_budgets import fill_budgets  # noqa: E402
from tests.browser.furniture_clouds import fill_clouds  # noqa: E402
from tests.browser.furniture_idle import fill_idle  # noqa: E402
from tests.browser.furniture_jobs import fill_jobs  # noqa: E402
from tests.browser.furniture_operator import fill_operator  # noqa: E402
from tests.browser.furniture_people import fill_people  # noqa: E402
from tests.browser.furniture_security import fill_security  # noqa: E402
from tests.browser.furniture_signup import fill_signup  # noqa: E402
from tests.browser.furniture_sso import fill_sso  # noqa: E402
from tests.browser.furniture_tokens import fill_tokens  # noqa: E402
from tests.browser.furniture_vault import fill_vault  # noqa: E402
from tests.factories import (  # noqa: E402
    actor,
    add_to_organization,
    add_to_workspace,
    make_cluster,
    make_organization,
    make_run,
    make_user,
    make_workspace,
)
from workspaces import services as workspaces  # noqa: E402
from workspaces.models import Workspace, WorkspaceStatus  # noqa: E402
from workspaces.services_configurations import create_local_configuration  # noqa: E402

LONG = "საქართველოსგრძელისახელი" * 5
LONG = LONG[:100]
"""100 letters without a place to break, in a script whose font is wide."""

COLOURFUL = r"""
import sys
print("Reading \x1b[36morders.parquet\x1b[0m on 4 workers")
for part in range(1, 13):
    print(f"  part {part:2} of 12 \x1b[32mok\x1b[0m  {834_112 + part * 7919:>9,} rows")
print("\x1b[1m" + "day".ljust(14) + "orders".rjust(10) + "revenue".rjust(16) + "\x1b[0m")
for day in range(1, 8):
    print(f"2026-11-{day:02}".ljust(14) + f"{118_400 + day * 613:>10,}" + f"{9_218_774.15 + day * 12034.4:>16,.2f}")
print("x" * 3000)
print("warning: 3 rows without an amount were left out", file=sys.stderr)
"""
TIDY = COLOURFUL.replace('print("x" * 3000)\n', "")


def main(count: int, *, museum_too: bool = True) -> None:
    """Make it, and say where it is."""
    setattr(base_user, "make_password", cache(make_password))  # noqa: B010 - all have the same one, and hashing is slow on purpose
    tenants = [_tenant(number) for number in range(count)]
    museum = _museum() if museum_too else None
    _wait(lambda: not Workspace.objects.exclude(due_at=None).exists())
    shown = _fill(museum) if museum else {}
    json.dump({"tenants": [_described(*tenant) for tenant in tenants], "museum": shown}, sys.stdout)


def _tenant(number: int) -> tuple[User, Workspace]:
    owner = make_user("alice")
    organization = make_organization(owner, f"Acme {number}")
    return owner, _workspace(owner, organization, "Laboratory")


def _workspace(owner: User, organization: Organization, name: str) -> Workspace:
    who = actor(owner)
    configuration = create_local_configuration(actor=who, organization=organization, name="This machine", directory="")
    return workspaces.create_workspace(
        actor=who, organization=organization, name=name, cloud_configuration=configuration, region="local"
    )


def _described(owner: User, workspace: Workspace) -> dict[str, str]:
    client = Client()
    client.force_login(owner)
    return {
        "organization": str(workspace.organization_id),
        "workspace": str(workspace.pk),
        "email": owner.email,
        "session": client.cookies["sessionid"].value,
        "files": str(_files(workspace)),
    }


def _files(workspace: Workspace) -> Path:
    return Path(workspace.cloud_configuration.location) / "workspaces" / str(workspace.pk) / "bodofs"


def _museum() -> tuple[User, Workspace]:
    owner = make_user("alice")
    organization = make_organization(owner, "Northwind")
    for name, role in (("bob", OrganizationRole.ADMIN), ("charlie", OrganizationRole.MEMBER)):
        add_to_organization(organization, make_user(name), role)
    return owner, _workspace(owner, organization, "Analytics")


def _fill(museum: tuple[User, Workspace]) -> dict[str, Any]:
    owner, workspace = museum
    workspace.refresh_from_db()
    who = actor(owner)
    files = _files(workspace)
    endless = f"{TIDY}\nimport time\nprint('Writing revenue.parquet …', flush=True)\ntime.sleep(3000)\n"
    texts = {
        "daily_revenue.py": TIDY,
        "wide.py": COLOURFUL,
        "hourly_export.py": endless,
        f"{LONG[:60]}.py": "print(1)\n",
    }
    for path, text in texts.items():
        (files / path).write_text(text)
    (files / "orders").mkdir()
    (files / "empty").mkdir()
    (files / "orders" / "2026-11-01.csv").write_text("order,amount\n1,19.90\n" * 4000)
    add_to_workspace(workspace, make_user("dora"), WorkspaceRole.DEVELOPER)
    running = clusters.create_cluster(
        actor=who,
        workspace=workspace,
        name="etl",
        instance_type="local.2x",
        instances=2,
        release="2026.10",
        auto_pause_minutes=60,
        description="Loads the orders of the day before, every night",
        tags={"team": "data", "cost-center": "4711"},
    )
    _wait(lambda: Cluster.objects.get(pk=running.pk).status == "RUNNING")
    runs = {}
    for name in ("wide", "daily revenue", "hourly export"):
        runs[name] = jobs.submit_run(
            actor=who,
            workspace=workspace,
            name=name,
            spec=JobSpec(
                file=f"{name.replace(' ', '_')}.py",
                arguments=["--day", "2026-11-07", "two words"],
                environment={"API_TOKEN": "not shown"},
                mode=LaunchMode.SPMD if name == "wide" else LaunchMode.SPAWN,
                timeout_minutes=30,
            ),
            place=running,
        )
    _wait(lambda: Run.objects.get(pk=runs["hourly export"].pk).status == "RUNNING")
    failed = _statuses(workspace, owner)
    _history(running, "experiments", 5)
    interval = _history(running, "weekday reports", 0)
    close_due()
    empty = make_workspace(workspace.organization, workspace.cloud_configuration, name="Empty", handle=workspace.handle)
    long = make_workspace(workspace.organization, workspace.cloud_configuration, name=LONG, handle=workspace.handle)
    long_cluster = make_cluster(long, name=LONG, description=LONG, status="PAUSED", deployed_instances=0)
    for status in ("INPROGRESS", "FAILED", "TERMINATING"):
        fields = {"failure_message": "The disk is full."} if status == "FAILED" else {}
        make_workspace(
            workspace.organization,
            workspace.cloud_configuration,
            name=status.title(),
            status=status,
            progress_message="Making the shared filesystem" if status == WorkspaceStatus.INPROGRESS else "",
            **fields,
        )
    newcomer = make_user("erin")
    add_to_organization(make_organization(name="Newcomers"), newcomer, OrganizationRole.OWNER)
    client = Client()
    client.force_login(newcomer)
    fill_tokens(owner, workspace, LONG)
    return {
        **_described(owner, workspace),
        "cluster": str(running.pk),
        "interval": interval,
        "statement_month": str(last_closable(timezone.now())),
        "run": str(runs["daily revenue"].pk),
        "wide_run": str(runs["wide"].pk),
        "running_run": str(runs["hourly export"].pk),
        "empty": str(empty.pk),
        "long": str(long.pk),
        "long_cluster": str(long_cluster.pk),
        "newcomer_session": client.cookies["sessionid"].value,
        "newcomer_organization": str(Organization.objects.of(newcomer).get().pk),
        **failed,
        **fill_people(owner, workspace.organization, LONG),
        **fill_operator(workspace.organization),
        **fill_budgets(owner, workspace, running),
        **fill_security(workspace.organization),
        **fill_signup(LONG),
        **fill_idle(owner, workspace, runs["daily revenue"]),
        **fill_sso(owner, workspace.organization),
        **fill_vault(owner, workspace, long, LONG, files),
        **fill_jobs(owner, running),
        **fill_alarms(owner, workspace, LONG),
        **fill_clouds(owner, workspace, LONG),
    }


def _statuses(workspace: Workspace, owner: User) -> dict[str, str]:
    """Clusters and runs in every status; no cloud has heard of them, so they stay as they are."""
    failed = make_cluster(
        workspace,
        name="forecast",
        status="FAILED",
        deployed_instances=0,
        failure_code="InsufficientCapacity",
        failure_message="This machine has 2 of 12 cores free; 8 more are needed for 8 instances.",
        failure_hint="Pause or stop another cluster, or ask for fewer or smaller instances.",
        created_by=owner,
    )
    names = {"INPROGRESS": "training", "PAUSED": "ad-hoc", "STOPPED": "month-end", "TERMINATING": "old"}
    for status, name in names.items():
        under_way = status in {"INPROGRESS", "TERMINATING"}
        cluster = make_cluster(
            workspace,
            name=name,
            status=status,
            target="RUNNING" if status == "INPROGRESS" else status.replace("TERMINATING", "TERMINATED"),
            deployed_instances=0,
            due_at=timezone.now() + timedelta(days=1) if under_way else None,
            progress_message="Installing Bodo 2026.10: numpy (14 of 31)" if status == "INPROGRESS" else "",
            progress=0.32 if status == "INPROGRESS" else None,
            created_by=owner,
        )
        if status == "INPROGRESS":
            shown = cluster
            DeploymentEvent.objects.create(
                subject=cluster.pk, step="release", message=cluster.progress_message, level="info", progress=0.32
            )
    make_cluster(workspace, name=LONG, description=f"{LONG} {LONG}", status="STOPPED", deployed_instances=0)
    now = timezone.now()
    ends: dict[str, dict[str, Any]] = {
        "FAILED": {"reason": "NonZeroExitCode", "exit_code": 1},
        "CANCELLED": {"reason": "Cancelled"},
        "TIMEOUT": {"reason": "Timeout"},
        "PENDING": {"reason": "Queued"},
    }
    found = {}
    for number, (status, fields) in enumerate(ends.items()):
        started = None if status == "PENDING" else now - timedelta(minutes=20 + number)
        ended = None if status == "PENDING" else now - timedelta(minutes=8)
        run = make_run(
            failed,
            name=f"{status.lower()} example",
            status=status,
            started_at=started,
            ended_at=ended,
            due_at=now + timedelta(days=1) if ended is None else None,
            requested_by=owner,
            **fields,
        )
        found[status] = str(run.pk)
    long_run = make_run(
        failed,
        name=LONG,
        file=f"{LONG}.py",
        status="FAILED",
        reason="NonZeroExitCode",
        exit_code=1,
        arguments=[LONG],
        started_at=now,
        ended_at=now,
        due_at=None,
        failure_code="NonZeroExitCode",
        failure_message="The process ended with exit code 1.",
        failure_hint=f"Its last words are on stderr. {LONG}",
    )
    return {
        "failed_cluster": str(failed.pk),
        "deploying_cluster": str(shown.pk),
        "failed_run": found["FAILED"],
        "long_run": str(long_run.pk),
    }


def _history(cluster: Cluster, name: str, shift: int) -> str:
    """Weeks of use before today; the newest interval of it."""
    now = timezone.now()
    lines: list[tuple[datetime, TransitionKind, str]] = []
    for days in range(54, 0, -1):
        begin = now - timedelta(days=days, minutes=(days * 37 + shift) % 200)
        end = begin + timedelta(minutes=90 + (days * 53 + 31 * shift) % 260)
        if (begin.weekday() + shift) % 7 < 5:
            lines += [
                (begin, TransitionKind.REQUEST, "RUNNING"),
                (begin + timedelta(seconds=20), TransitionKind.STATUS, "RUNNING"),
                (end, TransitionKind.REQUEST, "STOPPED"),
                (end + timedelta(seconds=9), TransitionKind.STATUS, "STOPPED"),
            ]
    past = make_cluster(
        cluster.workspace,
        name=name,
        status="STOPPED",
        target="STOPPED",
        deployed_instances=0,
        ledger_length=len(lines),
        created_by=cluster.created_by,
    )
    for seq, (at, kind, status) in enumerate(lines, 1):
        Transition.objects.create(
            cluster=past,
            seq=seq,
            at=at,
            kind=kind,
            status=status,
            instance_type="local.4x",
            instances=2,
            actor_label=str(cluster.created_by) if kind == TransitionKind.REQUEST else "",
        )
    _wait(lambda: metering.rebuild([past.pk]) == 1)  # the portal's own pass may be at it
    return str(UsageInterval.objects.filter(cluster=past).latest("started_at").pk)


def _wait(question: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError("The portal does not make what it was asked for.")
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), museum_too="bare" not in sys.argv)
