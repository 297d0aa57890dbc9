"""Every write to notebook servers that a person asks for. Each is for the owner alone."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import User
from notebooks.models import NotebookServer, S
from portal import events, queue
from portal.clouds.base import Target
from portal.crypto import seal
from portal.errors import UserError
from workspaces.clouds import cloud_of
from workspaces.models import Workspace


def provide(*, actor: Actor, workspace: Workspace) -> NotebookServer:
    """The actor's own server in a workspace: the one there is, or a new one, which starts.

    Raises UserError(NoNotebooks) where the cloud has none.
    """
    assert actor.user is not None, "a server belongs to a person"
    found = NotebookServer.objects.of(workspace, actor.user)
    return found or _make(actor, workspace, actor.user)


def _make(actor: Actor, workspace: Workspace, user: User) -> NotebookServer:
    cloud = cloud_of(workspace.cloud_configuration)
    images, sizes = cloud.notebook_images(), cloud.notebook_sizes(workspace.region)
    if not (images and sizes and settings.PORTAL_NOTEBOOK_HOST):
        raise UserError("NoNotebooks", "This workspace has no notebooks.", "Ask your operator to set them up.")
    try:
        with transaction.atomic():
            row = NotebookServer.objects.create(
                workspace=workspace,
                user=user,
                image=images[0].version,
                size=sizes[0].name,
                idle_stop_minutes=settings.PORTAL_NOTEBOOK_IDLE_MINUTES,
                sealed=seal({"secret": secrets.token_urlsafe(32)}),
            )
            _record(actor, "notebook.create", row, image=row.image, size=row.size)
            nudge(row)
    except IntegrityError:  # somebody was quicker: the same person in another tab
        return NotebookServer.objects.in_workspace(workspace).get(user=user)
    return row


@transaction.atomic
def start(*, actor: Actor, server: NotebookServer) -> None:
    """Start it, or start it anew where it has failed; nothing where it runs or is on its way."""
    row = _lock(server)
    if row.target == Target.RUNNING and row.status != S.FAILED:
        return
    before = row.status
    _wish(row, Target.RUNNING)
    _record(actor, "notebook.start", row, before={"status": before})


@transaction.atomic
def restart(*, actor: Actor, server: NotebookServer) -> None:
    """Replace the server by a new one. Files are kept, kernels end."""
    row = _lock(server)
    _wish(row, Target.RUNNING)
    _record(actor, "notebook.restart", row)


@transaction.atomic
def stop(*, actor: Actor, server: NotebookServer, idle: bool = False) -> None:
    """Stop it. Files and settings are kept, kernels end. ``idle``: because nobody used it."""
    row = _lock(server)
    if row.target == Target.STOPPED:
        return
    _wish(row, Target.STOPPED)
    row.stopped_by = "idle" if idle else ""
    row.save(update_fields=["stopped_by"])
    _record(actor, "notebook.stop", row, **({"idle_stop_minutes": row.idle_stop_minutes} if idle else {}))


@transaction.atomic
def change(*, actor: Actor, server: NotebookServer, image: str, size: str, idle_stop_minutes: int) -> None:
    """Another image or size, which a running server gets by a restart, or another idle time, which holds at once."""
    row = _lock(server)
    names = ("image", "size", "idle_stop_minutes")
    before = {name: getattr(row, name) for name in names}
    row.image, row.size, row.idle_stop_minutes = image, size, idle_stop_minutes
    after = {name: getattr(row, name) for name in names}
    if before == after:
        return
    row.save(update_fields=names)
    if row.target == Target.RUNNING and (before["image"], before["size"]) != (image, size):
        _wish(row, Target.RUNNING)
    _record(actor, "notebook.update", row, before=before, after=after)
    events.notify(row.workspace_id, f"notebook-{row.pk}")


@transaction.atomic
def end(*, actor: Actor, server: NotebookServer, reason: str) -> None:
    """Remove the server with its home directory; the files of the workspace stay."""
    row = _lock(server)
    if row.target == Target.TERMINATED:
        return
    _wish(row, Target.TERMINATED)
    row.tickets.all().delete()
    row.visits.all().delete()
    _record(actor, "notebook.delete", row, reason=reason)


@transaction.atomic
def stay(*, actor: Actor, server: NotebookServer) -> None:
    """Count the idle time anew."""
    row = _lock(server)
    before, row.last_activity_at = row.last_activity_at, timezone.now()
    row.save(update_fields=["last_activity_at"])
    times = {"before": {"last_activity_at": before}, "after": {"last_activity_at": row.last_activity_at}}
    _record(actor, "notebook.stay", row, **times)
    events.notify(row.workspace_id, f"notebook-{row.pk}")


def nudge(server: NotebookServer) -> None:
    """Wake the reconciler and the owner's page, after the commit."""
    queue.enqueue("notebook", server.pk)
    events.notify(server.workspace_id, f"notebook-{server.pk}")


def _lock(server: NotebookServer) -> NotebookServer:
    row = NotebookServer.objects.select_for_update(of=("self",)).select_related("workspace__organization", "user")
    found = row.get(pk=server.pk)
    if found.target == Target.TERMINATED and found.status != S.TERMINATED:
        return found
    if found.status == S.TERMINATED:
        raise UserError("NotebookGone", "This notebook server was removed.", "Open “My notebook” again to get another.")
    return found


def _wish(row: NotebookServer, target: Target) -> None:
    if row.target == Target.TERMINATED and target != Target.TERMINATED:
        raise UserError("NotebookGone", "This notebook server is being removed.", "Try again in a moment.")
    row.target = target
    row.generation += target == Target.RUNNING
    row.revision += 1
    row.attempts = 0
    row.due_at = timezone.now()
    row.busy, row.stopped_by = False, ""
    row.failure_code = row.failure_message = row.failure_hint = ""
    row.save(
        update_fields=[
            *("target", "generation", "revision", "attempts", "due_at", "busy", "stopped_by"),
            *("failure_code", "failure_message", "failure_hint"),
        ]
    )
    nudge(row)


def _record(actor: Actor, verb: str, row: NotebookServer, **detail: Any) -> None:
    workspace = row.workspace
    audit.record(actor, verb, row, organization=workspace.organization, workspace=workspace.name, **detail)
