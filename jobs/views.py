"""Pages of runs; their logs and outputs are in ``views_logs``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render

from accounts.audit import actor_of
from accounts.permissions import Perm
from clusters.models import Cluster
from jobs import costs, reading, services, views_form
from jobs.forms import RunFilter
from jobs.forms_job import ENDINGS, JobForm, initial_of
from jobs.models import Run, RunAttempt, RunStatus, find_queue_positions
from jobs.queueing import expected_start
from jobs.spec import CodeType, SourceType
from jobs.views_logs import attempt_of, find, stream_of
from jobs.views_templates import find as find_template
from jobs.views_templates import uuid_of
from portal.errors import UserError
from portal.forms import done, posted
from portal.models import DeploymentEvent
from portal.paging import page
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace

LOG_TAIL = 64 * 1024
SHOWN = (
    *(
        "number",
        "name",
        "file",
        "code_type",
        "status",
        "reason",
        "created_at",
        "started_at",
        "ended_at",
        "workspace_id",
    ),
    *("cluster__name", "requested_by__first_name", "requested_by__last_name", "requested_by__email"),
)
"""What a line of the list reads. A run and its cluster have some seventy columns, and reading them takes longest."""


@workspace_view(Perm.WS_VIEW)
def runs(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The runs of a workspace, newest first."""
    form = RunFilter(request.GET, workspace=workspace)
    rows = Run.objects.in_workspace(workspace)
    if form.is_valid():
        if form.cleaned_data["q"]:
            rows = rows.named(form.cleaned_data["q"])
        if form.cleaned_data["status"]:
            rows = rows.filter(status=form.cleaned_data["status"])
        if form.cleaned_data["cluster"]:
            rows = rows.filter(cluster=form.cleaned_data["cluster"])
    shown = page(request, rows.select_related("cluster", "requested_by").only(*SHOWN))
    find_queue_positions(shown.rows)
    context = {
        "nav": "jobs",
        "tab": "runs",
        "page": shown,
        "runs": shown.rows,
        "filter_form": form,
        "clusters_exist": Cluster.objects.in_workspace(workspace).exists(),
    }
    return render(request, "jobs/list.html", context)


@workspace_view(Perm.WS_VIEW)
def row(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """One line of the list, refreshed."""
    return render(request, "jobs/_row.html", {"run": find(workspace, run)})


@workspace_view(Perm.JOB_EDIT, ("GET", "HEAD", "POST"))
def new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Submit a run: of a job described now, of a template with changes (``?template=``), or again (``?run=``)."""
    initial: dict[str, Any] = {name: request.GET.get(name, "") for name in ("name", "file", "cluster")}
    initial |= described_by(initial["file"])
    template, kept = None, None
    if asked := request.GET.get("template"):
        template = find_template(workspace, uuid_of(asked))
        kept = template.spec()
        initial = {**initial_of(kept, template.place), "name": template.name}
        initial["place"] = "existing" if initial["place"] == "open" else initial["place"]
    elif asked := request.GET.get("run"):
        again = find(workspace, uuid_of(asked))
        template, kept = again.template, again.spec()
        initial = {**initial_of(kept, None if again.cluster.dedicated_to else again.cluster), "name": again.name}
        initial["place"] = "existing"
    form = JobForm(posted(request), workspace=workspace, kept=kept, initial=initial)
    if views_form.wants_saving(request, form):
        place = form.place_given()
        assert place is not None, "only a template may leave it open"
        try:
            run = services.submit_run(
                actor=actor_of(request),
                workspace=workspace,
                name=form.cleaned_data["name"],
                spec=form.spec(),
                place=place,
                template=template,
            )
            return done(request, "jobs:detail", workspace.pk, run.pk)
        except UserError as error:
            views_form.refuse(form, error)
    return views_form.show(request, form, title="Run job", save="Run job", from_template=template)


def described_by(file: str) -> dict[str, str]:
    """What the form can know by the name of a file of the workspace."""
    code = next((code.value for code, ending in ENDINGS.items() if file.endswith(ending)), None)
    return {"code_type": code, "source_type": SourceType.WORKSPACE.value} if code else {}


def live_context(request: WorkspaceRequest, workspace: Workspace, run: Run) -> dict[str, Any]:
    """What the live part of a run's page shows: its facts, and once an attempt has ended, what that made."""
    attempts = list(RunAttempt.objects.of(run))
    attempt = attempt_of(request, attempts)
    ended = attempt is not None and attempt.ended_at is not None
    run.cluster.workspace = workspace
    return {
        "nav": "jobs",
        "run": run,
        "attempts": attempts,
        "expected_start": expected_start(run),
        "catalog": run.find_catalog(),
        "cost": costs.costs_of([run]).get(run.pk),
        "events": DeploymentEvent.objects.of(run.pk)[:50],
        "attempt": attempt,
        "outputs": reading.outputs(workspace, attempt) if attempt and ended else [],
        "result": reading.result(workspace, attempt) if attempt and ended and run.code_type == CodeType.SQL else None,
        "can_cancel": Perm.JOB_EDIT in request.permissions and not run.ended and run.status != RunStatus.CANCELLING,
    }


@workspace_view(Perm.WS_VIEW)
def detail(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """A run, its attempts, its log and what it made."""
    found = find(workspace, run)
    context = live_context(request, workspace, found)
    attempt = context["attempt"]
    shown = reading.Log(workspace, found, attempt, stream_of(request)) if attempt else None
    tail = shown.read(-LOG_TAIL, LOG_TAIL) if shown else None
    context["log_tail"] = tail.data.decode(errors="replace") if tail else ""
    context["log_stream"] = stream_of(request).value
    return render(request, "jobs/detail.html", context)


@workspace_view(Perm.WS_VIEW)
def live(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """The live part of a run's page, refreshed."""
    return render(request, "jobs/_live.html", live_context(request, workspace, find(workspace, run)))


@workspace_view(Perm.JOB_EDIT, ("POST",))
def cancel(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """End a run."""
    found = find(workspace, run)
    services.cancel_run(actor=actor_of(request), run=found)
    return done(request, "jobs:detail", workspace.pk, found.pk)
