"""Every write of the workspaces app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import ApiToken, Invitation, Organization
from accounts.permissions import WorkspaceRole
from accounts.services_invitations import revoke_all
from accounts.services_tokens import revoke_tokens
from accounts.standing import lock_roles
from portal import events, queue
from portal.clouds.base import CloudError, Files, Target
from portal.errors import UserError
from workspaces import hooks
from workspaces.clouds import cloud_of
from workspaces.models import (
    Catalog,
    CloudConfiguration,
    ConfigurationStatus,
    NetworkConfiguration,
    Secret,
    Workspace,
    WorkspaceMembership,
    WorkspaceStatus,
)
from workspaces.services_roles import delete_roles_of


def _no_clusters(workspace: Workspace) -> list[str]:
    return []


clusters_in: Callable[[Workspace], list[str]] = _no_clusters
"""The names of the clusters in a workspace. The clusters app, which stands above this one, puts its own here."""


@transaction.atomic
def create_workspace(
    *,
    actor: Actor,
    organization: Organization,
    name: str,
    cloud_configuration: CloudConfiguration,
    region: str,
    network: NetworkConfiguration | None = None,
) -> Workspace:
    """A workspace, to be deployed. Its creator is its first ADMIN. Raises UserError(NameTaken,
    ConfigurationGone, ConfigurationNotReady,
    NetworkGone)."""
    configurations = CloudConfiguration.objects.in_organization(organization).select_for_update()
    configuration = configurations.filter(pk=cloud_configuration.pk).first()
    if configuration is None:
        raise UserError("ConfigurationGone", "The cloud configuration was deleted meanwhile.", "Choose another one.")
    if configuration.status != ConfigurationStatus.READY:
        raise UserError("ConfigurationNotReady", f"{configuration} is not ready yet.", "Go on with it on its page.")
    if network:
        rows = NetworkConfiguration.objects.in_organization(organization).select_for_update()
        network = rows.filter(pk=network.pk, cloud_configuration=configuration, region=region).first()
        if network is None:
            raise UserError("NetworkGone", "The network was deleted meanwhile.", "Choose another one.")
    try:
        with transaction.atomic():
            workspace = Workspace.objects.create(
                organization=organization,
                name=name,
                cloud_configuration=configuration,
                region=region,
                network=network,
                created_by=actor.user,
            )
    except IntegrityError:
        raise UserError("NameTaken", "A workspace of this name exists.", "Choose another name.") from None
    if actor.user:
        WorkspaceMembership.objects.create(workspace=workspace, user=actor.user, role=WorkspaceRole.ADMIN)
    audit.record(
        actor,
        "workspace.create",
        workspace,
        organization=organization,
        cloud_configuration=configuration.name,
        region=region,
        network=network.name if network else "",
    )
    nudge(workspace)
    return workspace


@transaction.atomic
def rename_workspace(*, actor: Actor, workspace: Workspace, name: str) -> None:
    """Another name. Raises UserError(NameTaken)."""
    row = Workspace.objects.select_for_update().get(pk=workspace.pk)
    before, row.name = row.name, name
    try:
        with transaction.atomic():
            row.save(update_fields=["name"])
    except IntegrityError:
        raise UserError("NameTaken", "A workspace of this name exists.", "Choose another name.") from None
    audit.record(
        actor, "workspace.rename", row, organization=row.organization, before={"name": before}, after={"name": name}
    )


@transaction.atomic
def delete_workspace(*, actor: Actor, workspace: Workspace) -> None:
    """Ask for the removal of a workspace with all its files; the values of secrets are forgotten at once.

    Raises UserError(WorkspaceInUse).
    """
    lock_roles(workspace.organization)
    row = Workspace.objects.select_for_update().get(pk=workspace.pk)
    if row.status == WorkspaceStatus.TERMINATED:
        return
    blocking = clusters_in(row)
    if blocking:
        raise UserError(
            "WorkspaceInUse",
            f"{len(blocking)} clusters are in {row.name}: {', '.join(blocking[:5])}.",
            "Delete the clusters first, then the workspace.",
        )
    before, row.target = row.target, Target.TERMINATED
    row.revision += 1
    row.attempts = 0
    row.due_at = timezone.now()
    row.failure_code = row.failure_message = row.failure_hint = ""
    row.save(
        update_fields=["target", "revision", "attempts", "due_at", "failure_code", "failure_message", "failure_hint"]
    )
    for follow in hooks.workspace_deleted:
        follow(actor, row)
    Secret.objects.in_workspace(row).update(sealed="")
    Catalog.objects.in_workspace(row).update(sealed="")
    audit.record(
        actor,
        "workspace.delete",
        row,
        organization=row.organization,
        before={"target": before},
        after={"target": row.target},
        status=row.status,
        region=row.region,
        cloud_configuration=row.cloud_configuration.name,
    )
    reason = "the workspace is deleted"
    revoke_tokens(actor=actor, tokens=ApiToken.objects.in_workspace(row), reason=reason)
    invitations = Invitation.objects.in_organization(row.organization).open().filter(workspace=row)
    revoke_all(actor=actor, invitations=invitations, reason=reason)
    delete_roles_of(actor=actor, workspace=row)
    nudge(row)


def nudge(workspace: Workspace) -> None:
    """Wake the reconciler and the pages, after the commit."""
    queue.enqueue("workspace", workspace.pk)
    events.notify(workspace.organization_id, f"workspace-{workspace.pk}")


def save_file(*, actor: Actor, workspace: Workspace, path: str, chunks: Iterator[bytes]) -> int:
    """Write a file of the shared filesystem, whole or not at all, and return its size in bytes."""
    files = _files(workspace)
    replaced = _state(files, path)
    size = files.save(path, chunks)
    _record_file(actor, workspace, "file.save", path=path, before=replaced, after={"kind": "file", "size": size})
    return size


def make_folder(*, actor: Actor, workspace: Workspace, path: str) -> None:
    """Make a folder."""
    _files(workspace).make_folder(path)
    _record_file(actor, workspace, "file.make_folder", path=path)


def move_file(*, actor: Actor, workspace: Workspace, source: str, destination: str) -> None:
    """Rename a file or folder."""
    _files(workspace).move(source, destination)
    _record_file(actor, workspace, "file.move", before={"path": source}, after={"path": destination})


def delete_file(*, actor: Actor, workspace: Workspace, path: str) -> None:
    """Delete a file, or a folder with everything in it."""
    files = _files(workspace)
    deleted = _state(files, path)
    files.delete(path)
    _record_file(actor, workspace, "file.delete", path=path, before=deleted)


def _files(workspace: Workspace) -> Files:
    return cloud_of(workspace.cloud_configuration).files(workspace.handle)


def _state(files: Files, path: str) -> dict[str, Any]:
    """What the audit log says of a file that is about to go; empty where there is none."""
    try:
        entry = files.stat(path)
    except CloudError:
        return {}
    return {"kind": entry.kind, "size": entry.size}


def _record_file(actor: Actor, workspace: Workspace, verb: str, **detail: Any) -> None:
    """A write to files cannot be undone by the database: its event follows at once, in a transaction of its own."""
    with transaction.atomic():
        audit.record(actor, verb, workspace, organization=workspace.organization, **detail)
