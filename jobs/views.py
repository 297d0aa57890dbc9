"""Pages of runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render

from accounts.audit import actor_of
from accounts.permissions import Perm
from clusters.models import Cluster
from jobs import services
from jobs.forms import RunFilter, RunForm
from jobs.models import Run, RunStatus, find_queue_positions
from portal.clouds.base import LogChunk, LogStream
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.models import DeploymentEvent
from portal.paging import page
from portal.streaming import blocks
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.clouds import cloud_of
from workspaces.models import Workspace

LOG_CHUNK = 256 * 1024
LOG_TAIL = 64 * 1024
SHOWN = (
    *("number", "name", "file", "status", "reason", "created_at", "started_at", "ended_at", "workspace_id"),
    *("cluster__name", "requested_by__first_name", "requested_by__last_name", "requested_by__email"),
)
"""What a line of the list reads. A run and its cluster have some seventy columns, and reading them takes longest."""


def find(workspace: Workspace, run: UUID) -> Run:
    """A run of this workspace; 404 for any other."""
    rows = Run.objects.in_workspace(workspace).select_related("cluster", "requested_by")
    return get_object_or_404(rows, pk=run)


@workspace_view(Perm.WS_VIEW)
def runs(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The runs of a workspace, newest first."""
    form = RunFilter(request.GET, workspace=workspace)
    rows = Run.objects.in_workspace(workspace)
    if form.is_valid():
        if form.cleaned_data["q"]:
            rows = rows.filter(name__icontains=form.cleaned_data["q"])
        if form.cleaned_data["status"]:
            rows = rows.filter(status=form.cleaned_data["status"])
        if form.cleaned_data["cluster"]:
            rows = rows.filter(cluster=form.cleaned_data["cluster"])
    shown = page(request, rows.select_related("cluster", "requested_by").only(*SHOWN))
    find_queue_positions(shown.rows)
    context = {
        "nav": "jobs",
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
    """Submit a run."""
    initial = {"file": request.GET.get("file", ""), "cluster": request.GET.get("cluster", "")}
    form = RunForm(posted(request), workspace=workspace, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            run = services.submit_run(
                actor=actor_of(request),
                workspace=workspace,
                name=form.cleaned_data["name"],
                spec=form.spec(),
                place=form.cleaned_data["cluster"],
            )
            return done(request, "jobs:detail", workspace.pk, run.pk)
        except UserError as error:
            form.add_error("cluster", f"{error.message} {error.hint}".strip())
    context = {"nav": "jobs", "clusters_exist": Cluster.objects.in_workspace(workspace).usable().exists()}
    return form_response(request, "jobs/new.html", form, **context)


def live_context(request: WorkspaceRequest, workspace: Workspace, run: Run) -> dict[str, Any]:
    """What the live part of a run's page shows."""
    return {
        "nav": "jobs",
        "run": run,
        "events": DeploymentEvent.objects.of(run.pk)[:50],
        "can_cancel": Perm.JOB_EDIT in request.permissions and not run.ended and run.status != RunStatus.CANCELLING,
    }


@workspace_view(Perm.WS_VIEW)
def detail(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """A run and its log."""
    found = find(workspace, run)
    context = live_context(request, workspace, found)
    stream = LogStream.STDERR if request.GET.get("stream") == "stderr" else LogStream.STDOUT
    tail = read_log(workspace, found, stream, -LOG_TAIL, LOG_TAIL)
    context["log_tail"] = tail.data.decode(errors="replace") if tail else ""
    context["log_stream"] = stream.value
    context["log_offset"] = tail.next_offset if tail else 0
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


def read_log(workspace: Workspace, run: Run, stream: LogStream, offset: int, limit: int) -> LogChunk | None:
    """A piece of a run's log; None before it started."""
    if not run.handle:
        return None
    return cloud_of(workspace.cloud_configuration).logs(run.cluster.handle, run.handle, stream, offset, limit)


def _stream_of(request: WorkspaceRequest) -> LogStream:
    return LogStream.STDERR if request.GET.get("stream") == "stderr" else LogStream.STDOUT


@workspace_view(Perm.WS_VIEW)
def log(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """Log text from an offset. X-Next-Offset says where to go on; X-Log-Complete that nothing more will come."""
    found = find(workspace, run)
    text = request.GET.get("offset", "0").removeprefix("-")
    offset = int(text) if text.isdecimal() and len(text) < 16 else 0
    offset = -offset if request.GET.get("offset", "").startswith("-") else offset
    chunk = read_log(workspace, found, _stream_of(request), offset, LOG_CHUNK)
    response = HttpResponse(chunk.data if chunk else b"", content_type="text/plain; charset=utf-8")
    response["X-Next-Offset"] = str(chunk.next_offset if chunk else 0)
    response["X-Log-Complete"] = str(found.ended and (chunk is None or chunk.next_offset >= chunk.size)).lower()
    return response


@workspace_view(Perm.WS_VIEW)
def log_download(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponseBase:
    """The whole log as it is now, streamed."""
    found = find(workspace, run)
    stream = _stream_of(request)

    beginning = read_log(workspace, found, stream, 0, 0)
    offset, size = 0, beginning.size if beginning else 0  # a job may be writing faster than somebody reads

    def read() -> bytes:
        nonlocal offset
        chunk = read_log(workspace, found, stream, offset, min(LOG_CHUNK, max(0, size - offset)))
        offset = chunk.next_offset if chunk else 0
        return chunk.data if chunk else b""

    response = StreamingHttpResponse(blocks(read), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{found.pk}-{stream.value}.log"'
    return response
