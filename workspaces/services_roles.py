"""Every write of instance roles that people make: wishes, which ``workspaces.reconcile_roles`` makes true."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from portal import events, queue
from portal.clouds.base import Target
from portal.errors import UserError
from workspaces.clouds import cloud_of
from workspaces.hooks import refuse_if_used
from workspaces.models import InstanceRole, InstanceRoleStatus, Workspace, WorkspaceStatus


@transaction.atomic
def create_role(*, actor: Actor, workspace: Workspace, name: str, role: str, description: str = "") -> InstanceRole:
    """Register a role of the customer's own. Raises UserError(NotOffered, WorkspaceNotReady, NameTaken)."""
    rows = Workspace.objects.select_for_update(of=("self",)).select_related("cloud_configuration", "organization")
    place = rows.get(pk=workspace.pk)
    if place.status != WorkspaceStatus.READY or place.target != Target.RUNNING:
        raise UserError("WorkspaceNotReady", f"The workspace {place.name} is {place.status}.")
    if not cloud_of(place.cloud_configuration).features.instance_roles:
        raise UserError("NotOffered", "Instance roles cannot be had on this cloud.", "Choose another cloud.")
    row = InstanceRole(workspace=place, name=name, role=role, description=description, created_by=actor.user)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise UserError(
            "NameTaken", "An instance role of this name exists in the workspace.", "Choose another name."
        ) from None
    _record(actor, "instance_role.create", row, after={"name": name, "role": role, "description": description})
    nudge(row)
    return row


@transaction.atomic
def retry_role(*, actor: Actor, role: InstanceRole) -> None:
    """Try again to register a role that FAILED. Raises UserError(NotFailed)."""
    row = _locked(role)
    if row.status != InstanceRoleStatus.FAILED or row.target != Target.RUNNING:
        raise UserError(
            "NotFailed", f"The instance role {row.name} is {row.status}.", "Only a FAILED one is tried again."
        )
    _record(actor, "instance_role.retry", row, failure=row.failure_code)
    _wish(row)


@transaction.atomic
def delete_role(*, actor: Actor, role: InstanceRole) -> None:
    """Take what was added off a role, and forget it. Raises UserError(InUse)."""
    row = _locked(role)
    if row.target == Target.TERMINATED:
        return
    refuse_if_used(row)
    _remove(actor, row)


def delete_roles_of(*, actor: Actor, workspace: Workspace) -> None:
    """All of a workspace that is being deleted. Inside its transaction."""
    rows = InstanceRole.objects.in_workspace(workspace).exclude(target=Target.TERMINATED)
    for row in rows.select_for_update(of=("self",)).select_related("workspace__organization"):
        _remove(actor, row)


def nudge(role: InstanceRole) -> None:
    """Wake the reconciler and the pages, after the commit."""
    queue.enqueue("instancerole", role.pk)
    events.notify(role.workspace_id, f"instancerole-{role.pk}")


def _remove(actor: Actor, row: InstanceRole) -> None:
    before, row.target = row.target, Target.TERMINATED.value
    _record(
        actor,
        "instance_role.delete",
        row,
        before={"target": before, "role": row.role},
        after={"target": row.target},
        status=row.status,
    )
    _wish(row)


def _wish(row: InstanceRole) -> None:
    row.revision += 1
    row.attempts, row.due_at = 0, timezone.now()
    row.failure_code = row.failure_message = row.failure_hint = ""
    row.save(
        update_fields=["target", "revision", "attempts", "due_at", "failure_code", "failure_message", "failure_hint"]
    )
    nudge(row)


def _locked(role: InstanceRole) -> InstanceRole:
    rows = InstanceRole.objects.select_for_update(of=("self",)).select_related("workspace__organization")
    return rows.get(pk=role.pk)


def _record(actor: Actor, verb: str, role: InstanceRole, **detail: Any) -> None:
    workspace = role.workspace
    audit.record(actor, verb, role, organization=workspace.organization, workspace=workspace.name, **detail)
