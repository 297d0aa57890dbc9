"""Every write about what stands in cloud accounts without a record."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from portal import events, queue
from portal.clouds.base import CloudError, Handle
from portal.errors import UserError
from portal.reconcile import LEASE
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration, ConfigurationStatus, LostStatus, LostThing, OrphanSearch, Workspace
from workspaces.reconcile_orphans import tell


@transaction.atomic
def search_orphans(*, actor: Actor, configuration: CloudConfiguration) -> OrphanSearch:
    """Wish for a search; a worker makes it. Raises UserError(ConfigurationNotReady)."""
    if configuration.status != ConfigurationStatus.READY:
        hint = "Set it up on its page first."
        raise UserError("ConfigurationNotReady", f"{configuration} is not set up yet.", hint)
    OrphanSearch.objects.get_or_create(configuration=configuration, defaults={"due_at": None})
    search = OrphanSearch.objects.select_for_update().get(configuration=configuration)
    search.due_at, search.attempts, search.progress_message = timezone.now(), 0, ""
    search.revision += 1
    search.save(update_fields=["due_at", "attempts", "progress_message", "revision"])
    _record(actor, "orphans.search", search)
    queue.enqueue("orphan-search", search.pk)
    tell(search)
    return search


@transaction.atomic
def remove_orphans(*, actor: Actor, configuration: CloudConfiguration, things: Sequence[uuid.UUID]) -> int:
    """Remove what was found, for good, and return how many there are. Raises UserError(NothingChosen)."""
    rows = LostThing.objects.in_configuration(configuration).filter(pk__in=things, status=LostStatus.FOUND)
    chosen = list(rows.select_for_update(of=("self",)).select_related("search__configuration__organization"))
    if not chosen:
        hint = "Reload the page: it may have been removed already, or found no more."
        raise UserError("NothingChosen", "There is nothing to remove.", hint, status=422)
    for row in chosen:
        row.status, row.due_at, row.attempts = LostStatus.REMOVING, timezone.now(), 0
        row.failure_code = row.failure_message = row.failure_hint = ""
        row.revision += 1
        row.save(update_fields=["status", "due_at", "attempts", "revision", *FAILURE])
        detail = {"kind": row.kind, "id": row.provider_id, "region": row.region, "deployment": row.deployment}
        _record(actor, "orphans.remove", row.search, before=detail)
        queue.enqueue("lost-thing", row.pk)
    tell(chosen[0].search)
    return len(chosen)


FAILURE = ["failure_code", "failure_message", "failure_hint"]


def adopt_orphan(*, actor: Actor, configuration: CloudConfiguration, thing: LostThing) -> Workspace:
    """Put something into the records of its workspace, which lacks it. Raises UserError(NotAdoptable, WorkspaceBusy).

    The workspace's lease is held while the cloud is asked, so that its reconciler does not make the same anew.
    """
    workspace, token = _leased(configuration, thing)
    try:
        handle = cloud_of(configuration).adopt_orphan(thing.orphan(), workspace.handle)
    except CloudError as error:
        _give_back(workspace, token)
        raise UserError(error.code, error.message, error.hint) from error
    except BaseException:
        _give_back(workspace, token)
        raise
    _adopted(actor, workspace, token, handle, thing)
    return workspace


def _leased(configuration: CloudConfiguration, thing: LostThing) -> tuple[Workspace, uuid.UUID]:
    now, token = timezone.now(), uuid.uuid4()
    workspaces = Workspace.objects.filter(cloud_configuration=configuration, pk__in=_uuids(thing.deployment))
    if thing.status != LostStatus.FOUND or not thing.adoptable or not workspaces.exists():
        hint = "Search again; remove what nobody needs."
        raise UserError("NotAdoptable", f"There is no workspace that lacks the {thing.kind}.", hint)
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    if not workspaces.filter(free).update(lease_token=token, lease_until=now + LEASE):
        raise UserError("WorkspaceBusy", "Something is being done with the workspace.", "Try again in a minute.")
    return workspaces.get(), token


@transaction.atomic
def _adopted(actor: Actor, seen: Workspace, token: uuid.UUID, handle: Handle, thing: LostThing) -> None:
    row = Workspace.objects.select_for_update().filter(pk=seen.pk, lease_token=token).first()
    if row is None:
        raise UserError("WorkspaceBusy", "It took too long, and was not done.", "Try again in a minute.")
    row.handle, row.lease_token, row.lease_until = handle, None, None
    if not row.failure_code:  # one that failed goes on when somebody says so
        row.due_at = timezone.now()
    row.save(update_fields=["handle", "lease_token", "lease_until", "due_at"])
    LostThing.objects.filter(pk=thing.pk).update(status=LostStatus.ADOPTED)
    detail: dict[str, Any] = {"kind": thing.kind, "id": thing.provider_id, "step": thing.step}
    audit.record(actor, "orphans.adopt", row, organization=row.organization, after=detail)
    queue.enqueue("workspace", row.pk)
    events.notify(row.organization_id, f"workspace-{row.pk}")
    tell(thing.search)


def _give_back(workspace: Workspace, token: uuid.UUID) -> None:
    Workspace.objects.filter(pk=workspace.pk, lease_token=token).update(lease_token=None, lease_until=None)


def _uuids(text: str) -> list[uuid.UUID]:
    """What a tag says may be anything."""
    try:
        return [uuid.UUID(text)]
    except ValueError:
        return []


def _record(actor: Actor, verb: str, search: OrphanSearch, **detail: Any) -> None:
    configuration = search.configuration
    audit.record(actor, verb, configuration, organization=configuration.organization, **detail)
