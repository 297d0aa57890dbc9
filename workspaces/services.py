"""Every write of the workspaces app."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import ApiToken, Invitation, Organization
from accounts.permissions import WorkspaceRole
from accounts.services_invitations import revoke_all
from accounts.services_tokens import revoke_tokens
from accounts.standing import lock_roles
from portal import events, queue
from portal.clouds.base import Check, CloudError, Files, Target
from portal.errors import UserError
from workspaces import hooks
from workspaces.clouds import cloud_of, local_cloud
from workspaces.models import (
    Catalog,
    CloudConfiguration,
    Provider,
    Secret,
    Workspace,
    WorkspaceMembership,
    WorkspaceStatus,
)


def _no_clusters(workspace: Workspace) -> list[str]:
    return []


clusters_in: Callable[[Workspace], list[str]] = _no_clusters
"""The names of the clusters in a workspace. The clusters app, which stands above this one, puts its own here."""


def local_directory(configuration_id: uuid.UUID, directory: str) -> str:
    """The directory of a LOCAL configuration: what was asked for, or one of its own below the first allowed root.

    Raises UserError(LocalCloudOff, DirectoryNotAllowed).
    """
    if not settings.PORTAL_LOCAL_CLOUD:
        raise UserError("LocalCloudOff", "The operator of this portal does not allow clusters on this machine.")
    roots = [root.resolve() for root in settings.PORTAL_LOCAL_ROOTS]
    path = _resolved(directory) if directory else (roots[0] / str(configuration_id)).resolve()
    if path is None or not any(path.is_relative_to(root) and path != root for root in roots):
        allowed = ", ".join(str(root) for root in roots)
        raise UserError(
            "DirectoryNotAllowed",
            f"{directory} is not below a directory that the operator allows.",
            f"Leave the field empty, or choose a directory below {allowed}.",
            status=422,
        )
    _refuse_taken(path)
    return str(path)


def _resolved(directory: str) -> Path | None:
    """Where a directory really is; None for what cannot be one."""
    path = Path(directory)
    if not path.is_absolute() or not directory.isprintable() or ".." in path.parts:
        return None
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        return None
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return None


def _refuse_taken(path: Path) -> None:
    """No two configurations share a directory: they may belong to two tenants."""
    taken = CloudConfiguration.objects.filter(provider=Provider.LOCAL, deleted_at=None).values_list(
        "settings", flat=True
    )
    for other in (Path(settings_of["directory"]) for settings_of in taken):
        if path.is_relative_to(other) or other.is_relative_to(path):
            raise UserError(
                "DirectoryNotAllowed",
                f"{path} is used by another cloud configuration.",
                "Leave the field empty, or choose a directory of its own.",
                status=422,
            )


def validate_local(*, directory: str) -> list[Check]:
    """The named checks of a LOCAL configuration. Writes nothing."""
    return list(local_cloud(local_directory(uuid.uuid4(), directory)).check())


def create_local_configuration(
    *, actor: Actor, organization: Organization, name: str, directory: str
) -> CloudConfiguration:
    """A LOCAL configuration, checked first. Raises UserError(ChecksFailed, NameTaken, DirectoryNotAllowed)."""
    configuration_id = uuid.uuid4()
    path = local_directory(configuration_id, directory)
    checks = local_cloud(path).check()
    if not all(check.passed for check in checks):
        raise UserError("ChecksFailed", "Some checks failed.", "Do what each says, then validate again.", status=422)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('local directories'))")
        _refuse_taken(Path(path))  # again: somebody may have been quicker
        try:
            with transaction.atomic():
                configuration = CloudConfiguration.objects.create(
                    id=configuration_id,
                    organization=organization,
                    name=name,
                    provider=Provider.LOCAL,
                    settings={"directory": path},
                    checks=[asdict(check) for check in checks],
                    created_by=actor.user,
                )
        except IntegrityError:
            raise UserError("NameTaken", "A cloud configuration of this name exists.", "Choose another name.") from None
        audit.record(
            actor,
            "cloud_configuration.create",
            configuration,
            organization=organization,
            provider=Provider.LOCAL,
            directory=path,
        )
    return configuration


@transaction.atomic
def delete_configuration(*, actor: Actor, configuration: CloudConfiguration) -> None:
    """Forget a configuration. Raises UserError(ConfigurationInUse) while workspaces stand on it."""
    row = CloudConfiguration.objects.select_for_update().get(pk=configuration.pk)
    used = row.workspaces.exclude(status=WorkspaceStatus.TERMINATED).count()
    if used:
        raise UserError(
            "ConfigurationInUse",
            f"{used} workspaces stand on {row.name}.",
            "Delete them first, then the configuration.",
        )
    others = [name for ask in hooks.configuration_uses for name in ask(row)]
    if others:
        raise UserError(
            "ConfigurationInUse",
            f"{row.name} is used by {', '.join(others[:10])}.",
            "Delete what uses it first, then the configuration.",
        )
    row.deleted_at = timezone.now()
    row.save(update_fields=["deleted_at"])
    audit.record(
        actor,
        "cloud_configuration.delete",
        row,
        organization=row.organization,
        provider=row.provider,
        location=row.location,
    )


@transaction.atomic
def create_workspace(
    *, actor: Actor, organization: Organization, name: str, cloud_configuration: CloudConfiguration, region: str
) -> Workspace:
    """A workspace, to be deployed. Its creator is its first ADMIN. Raises UserError(NameTaken, ConfigurationGone)."""
    configurations = CloudConfiguration.objects.in_organization(organization).select_for_update()
    configuration = configurations.filter(pk=cloud_configuration.pk).first()
    if configuration is None:
        raise UserError("ConfigurationGone", "The cloud configuration was deleted meanwhile.", "Choose another one.")
    try:
        with transaction.atomic():
            workspace = Workspace.objects.create(
                organization=organization,
                name=name,
                cloud_configuration=configuration,
                region=region,
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
