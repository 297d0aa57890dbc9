"""Logs and outputs of runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.http import content_disposition_header

from accounts.permissions import Perm
from jobs import reading
from jobs.models import Run, RunAttempt
from portal.clouds.base import CloudError, LogStream
from portal.streaming import blocks
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace

LOG_CHUNK = 256 * 1024
MOST_MATCHES = 100
MOST_TEXT = 200


def find(workspace: Workspace, run: UUID) -> Run:
    """A run of this workspace; 404 for any other."""
    rows = Run.objects.in_workspace(workspace).select_related("cluster", "requested_by", "template", "schedule")
    return get_object_or_404(rows, pk=run)


def log_of(request: WorkspaceRequest, workspace: Workspace, run: Run) -> reading.Log | None:
    """The log that is asked for: of ``?attempt=``, or the newest; None before there is one."""
    attempt = attempt_of(request, RunAttempt.objects.of(run))
    return reading.Log(workspace, run, attempt, stream_of(request)) if attempt else None


def attempt_of(request: WorkspaceRequest, attempts: Iterable[RunAttempt]) -> RunAttempt | None:
    """The attempt of a run that is asked for, or the newest; they come newest first. 404 where there is no such one."""
    number = request.GET.get("attempt", "")
    found = next((attempt for attempt in attempts if number in ("", str(attempt.number))), None)
    if found is None and number:
        raise Http404
    return found


def stream_of(request: WorkspaceRequest) -> LogStream:
    """stdout, unless stderr is asked for."""
    return LogStream.STDERR if request.GET.get("stream") == "stderr" else LogStream.STDOUT


@workspace_view(Perm.WS_VIEW)
def log(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """Log text from an offset. X-Next-Offset says where to go on; X-Log-Complete that nothing more will come.

    X-Log-Attempt says whose log it is: without ``?attempt=``, it becomes another's when the next attempt starts.
    """
    found = find(workspace, run)
    shown = log_of(request, workspace, found)
    chunk = shown.read(_offset(request), LOG_CHUNK) if shown else None
    response = HttpResponse(chunk.data if chunk else b"", content_type="text/plain; charset=utf-8")
    response["X-Next-Offset"] = str(chunk.next_offset if chunk else 0)
    response["X-Log-Attempt"] = str(shown.attempt.number if shown else 0)
    read = shown is None or (shown.ended and chunk is not None and chunk.next_offset >= chunk.size)
    last = found.ended or bool(shown and request.GET.get("attempt"))
    response["X-Log-Complete"] = str(read and last).lower()
    return response


@workspace_view(Perm.WS_VIEW)
def log_search(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponse:
    """Lines that hold ``?q=``, as JSON; ``next`` is where to go on, absent at the end of the log."""
    shown = log_of(request, workspace, find(workspace, run))
    text = request.GET.get("q", "")[:MOST_TEXT]
    if shown is None or not text.strip():
        return JsonResponse({"lines": []})
    found = shown.search(text, max(0, _offset(request)), MOST_MATCHES)
    answer: dict[str, Any] = {
        "lines": [{"offset": line.offset, "text": line.data.decode(errors="replace")} for line in found.lines]
    }
    if found.next_offset < found.size:
        answer["next"], answer["size"] = found.next_offset, found.size
    return JsonResponse(answer)


@workspace_view(Perm.WS_VIEW)
def log_download(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponseBase:
    """The whole log as it is now: from the provider itself where that can be, else streamed."""
    found = find(workspace, run)
    shown = log_of(request, workspace, found)
    name = f"{found.pk}-{stream_of(request).value}.log"
    if shown and (link := shown.link(name)):
        return _away(link)
    beginning = shown.read(0, 0) if shown else None
    offset, size = 0, beginning.size if beginning else 0  # a job may be writing faster than somebody reads

    def read() -> bytes:
        nonlocal offset
        chunk = shown.read(offset, min(LOG_CHUNK, max(0, size - offset))) if shown else None
        offset = chunk.next_offset if chunk else 0
        return chunk.data if chunk else b""

    response = StreamingHttpResponse(blocks(read), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@workspace_view(Perm.WS_VIEW)
def output(request: WorkspaceRequest, workspace: Workspace, run: UUID) -> HttpResponseBase:
    """One file that the run wrote: from the provider itself where that can be, else streamed."""
    attempt = attempt_of(request, RunAttempt.objects.of(find(workspace, run)))
    path = request.GET.get("path", "")
    if attempt is None or not path:
        raise Http404
    files = reading.files_of(workspace, attempt)
    name = PurePosixPath(path).name
    try:
        if link := files.link(path, name):
            return _away(link)
        left = files.stat(path).size
        file = files.open(path)
    except CloudError:
        raise Http404 from None

    def read() -> bytes:
        nonlocal left
        block = file.read(min(LOG_CHUNK, left))
        left -= len(block)
        return block

    response = StreamingHttpResponse(blocks(read), content_type="application/octet-stream")
    response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    response["Content-Length"] = str(left)
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response


def _away(link: str) -> HttpResponse:
    """To a file that the provider hands out. The link is good for minutes, for whoever has it: it is kept nowhere."""
    response = HttpResponseRedirect(link)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _offset(request: WorkspaceRequest) -> int:
    given = request.GET.get("offset", "0")
    text = given.removeprefix("-")
    number = int(text) if text.isdecimal() and len(text) < 16 else 0
    return -number if given.startswith("-") else number
