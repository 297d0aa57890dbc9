"""The search of an account for what has no record, and the removal of what was found. Both survive any crash: a search
is made again, a removal goes on until the provider says that the thing is absent."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from portal import events
from portal.clouds.base import CloudError, Event, Orphan, Owned, Pending, Settled, Step
from portal.reconcile import Machine
from workspaces import hooks
from workspaces.clouds import cloud_of
from workspaces.models import (
    CloudConfiguration,
    InstanceRole,
    InstanceRoleStatus,
    LostStatus,
    LostThing,
    OrphanSearch,
    Provider,
    Workspace,
    WorkspaceStatus,
)

REMOVAL_POLL = 5.0
"""Seconds between two looks at something that goes."""

RETRY_REMOVAL = timedelta(seconds=30)
"""What is used by something else is tried again for as long as it takes: that may go as well."""


def owned_in(configuration: CloudConfiguration) -> list[Owned]:
    """Every deployment in the account of a configuration, whoever's: also those of other configurations and
    organizations with the same account, so that nobody's things are taken for lost."""
    same = [
        row for row in CloudConfiguration.objects.filter(provider=configuration.provider) if _same(row, configuration)
    ]
    workspaces = Workspace.objects.filter(cloud_configuration__in=same).exclude(status=WorkspaceStatus.TERMINATED)
    found = [Owned("workspace", str(row.pk), row.name, row.region, row.handle) for row in workspaces]
    roles = InstanceRole.objects.filter(workspace__cloud_configuration__in=same)
    found += [
        Owned("instance role", str(row.pk), row.name, row.workspace.region, row.handle)
        for row in roles.exclude(status=InstanceRoleStatus.TERMINATED).select_related("workspace")
    ]
    return found + [each for ask in hooks.deployments for each in ask(same)]


def _same(row: CloudConfiguration, configuration: CloudConfiguration) -> bool:
    if configuration.provider == Provider.LOCAL:
        return row.pk == configuration.pk
    return row.account == configuration.account


class OrphanSearchMachine(Machine[OrphanSearch]):
    """Searches once. What was found is in the handle until it is taken over into rows."""

    name = "orphan-search"
    model = OrphanSearch

    def load(self, pk: str) -> OrphanSearch | None:
        """The search with its configuration, unless that was deleted."""
        rows = OrphanSearch.objects.select_related("configuration")
        return rows.filter(pk=pk, configuration__deleted_at=None).first()

    def advance(self, row: OrphanSearch) -> Step:
        """Ask the whole account."""
        owned = owned_in(row.configuration)
        names = {each.id: each.name for each in owned}
        orphans = cloud_of(row.configuration).find_orphans(owned)
        found = [_kept(each) | {"deployment_name": names.get(each.deployment, "")} for each in orphans]
        return Step({"found": found}, Settled())

    def apply(self, row: OrphanSearch, step: Step) -> None:
        """What was found before and is no more is forgotten; what is being removed goes on."""
        found = {each["key"]: each for each in step.handle.get("found", [])}
        row.handle, row.searched_at = {}, timezone.now()
        row.failure_code = row.failure_message = row.failure_hint = ""
        row.things.exclude(status=LostStatus.REMOVING).delete()
        for key, facts in found.items():
            LostThing.objects.get_or_create(search=row, key=key, defaults=_facts(facts))

    def fail(self, row: OrphanSearch, error: CloudError) -> None:
        """The reason, beside what was found the last time."""
        row.handle = {}
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: OrphanSearch) -> None:
        """Tell the page."""
        tell(row)


class LostThingMachine(Machine[LostThing]):
    """REMOVING → REMOVED, or FOUND again where it must not be removed."""

    name = "lost-thing"
    model = LostThing

    def load(self, pk: str) -> LostThing | None:
        """The thing with its configuration."""
        rows = LostThing.objects.select_related("search__configuration")
        return rows.filter(pk=pk, search__configuration__deleted_at=None).first()

    def advance(self, row: LostThing) -> Step:
        """Look once more whether a record has it by now, then go on removing."""
        configuration = row.search.configuration
        for each in owned_in(configuration):
            if any(entry.get("id") == row.provider_id for entry in each.handle.get("steps", {}).values()):
                message = f"The {each.kind} {each.name} has it in its records by now."
                raise CloudError("HasRecord", message, "Search again.", permanent=True)
        if cloud_of(configuration).remove_orphan(row.orphan()):
            return Step({}, Settled(), [Event("", f"{row.kind} {row.provider_id} is gone")])
        return Step({}, Pending(REMOVAL_POLL))

    def apply(self, row: LostThing, step: Step) -> None:
        """REMOVED once the provider says that it is absent."""
        row.failure_code = row.failure_message = row.failure_hint = ""
        if isinstance(step.outcome, Settled):
            row.status, row.progress_message = LostStatus.REMOVED, ""

    def fail(self, row: LostThing, error: CloudError) -> None:
        """What may succeed later is tried for as long as it takes; what must not be removed is let go."""
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
        if error.permanent:
            row.status, row.progress_message = LostStatus.FOUND, ""
        else:
            row.due_at = timezone.now() + RETRY_REMOVAL

    def saved(self, row: LostThing) -> None:
        """Tell the page."""
        tell(row.search)


def tell(search: OrphanSearch) -> None:
    """The page of a search looks again."""
    events.notify(search.configuration.organization_id, f"orphans-{search.configuration_id}")


def _kept(orphan: Orphan) -> dict[str, Any]:
    daily, since = orphan.daily, orphan.since
    return asdict(orphan) | {
        "daily": None if daily is None else str(daily),
        "since": None if since is None else since.isoformat(),
    }


def _facts(kept: dict[str, Any]) -> dict[str, Any]:
    daily, since = kept["daily"], kept["since"]
    return {
        "provider_id": kept["id"],
        "daily": None if daily is None else Decimal(daily).quantize(Decimal("0.0001")),
        "since": None if since is None else datetime.fromisoformat(since),
        **{
            name: kept[name]
            for name in ("kind", "name", "region", "deployment", "deployment_name", "step", "adoptable")
        },
    }
