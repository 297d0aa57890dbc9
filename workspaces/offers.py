"""What may be chosen for a cluster: the instance types and zones of a region.

A cloud that answers at once is asked each time. One that takes seconds (``Cloud.catalogue_seconds``) is asked by a
worker, when a workspace becomes READY and then once in so many seconds, and what it said is kept. Who asks before there
is an answer has it fetched, and is told that it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from portal import events, queue
from portal.clouds.base import Cloud, CloudError, Features, InstanceType, Settled, Step
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration, Offers, Workspace, WorkspaceStatus

TRY_AGAIN = timedelta(minutes=15)
"""After a cloud would not say; people can ask for it sooner."""


@dataclass(frozen=True)
class OnOffer:
    """What may be chosen. Where it is kept, ``key`` is that of the row, and ``fetched_at`` how old it is.

    ``fetching``: there is nothing yet, and it is being asked for; ``progress`` says more. ``error``: the cloud would
    not say when it was asked last; what it said before is still there.
    """

    types: Sequence[InstanceType] = ()
    zones: Sequence[str] = ()
    features: Features = field(default_factory=Features)
    key: int | None = None
    fetched_at: datetime | None = None
    fetching: bool = False
    progress: str = ""
    error: CloudError | None = None


def on_offer(workspace: Workspace) -> OnOffer:
    """What may be chosen for the clusters of a workspace. Raises nothing."""
    cloud = cloud_of(workspace.cloud_configuration)
    if not cloud.catalogue_seconds:
        try:
            types, zones = cloud.instance_types(workspace.region), cloud.zones(workspace.region)
        except CloudError as error:
            return OnOffer(features=cloud.features, error=error)
        return OnOffer(types, _within(cloud, workspace, zones), cloud.features)
    row = want(workspace.cloud_configuration, workspace.region)
    refused = CloudError(row.failure_code, row.failure_message, row.failure_hint) if row.failure_code else None
    return OnOffer(
        row.instance_types(),
        _within(cloud, workspace, row.zones),
        cloud.features,
        key=row.pk,
        fetched_at=row.fetched_at,
        fetching=row.fetched_at is None and refused is None,
        progress=row.progress_message,
        error=refused,
    )


def _within(cloud: Cloud, workspace: Workspace, zones: Sequence[str]) -> list[str]:
    """Those of a region's zones in which the workspace lies."""
    own = cloud.zones_of(workspace.handle)
    return [zone for zone in zones if zone in own or not own]


def types_of(configuration: CloudConfiguration, region: str) -> Sequence[InstanceType]:
    """The machines of a region, smallest first. Raises CloudError, that of the cloud or OffersNotKnown."""
    cloud = cloud_of(configuration)
    if not cloud.catalogue_seconds:
        return cloud.instance_types(region)
    row = want(configuration, region)
    if row.fetched_at is None:
        if row.failure_code:
            raise CloudError(row.failure_code, row.failure_message, row.failure_hint)
        raise CloudError("OffersNotKnown", f"The instance types of {region} are still being fetched.")
    return row.instance_types()


def want(configuration: CloudConfiguration, region: str) -> Offers:
    """What is kept of a region; where it is not, it is asked for from now on."""
    row, made = Offers.objects.get_or_create(cloud_configuration=configuration, region=region)
    if made or row.settled:
        fetch(row)
    return row


def workspace_saved(workspace: Workspace) -> None:
    """A workspace that is READY has what it offers fetched. Inside the transaction that says so."""
    if workspace.status == WorkspaceStatus.READY and cloud_of(workspace.cloud_configuration).catalogue_seconds:
        want(workspace.cloud_configuration, workspace.region)


def fetch(row: Offers) -> None:
    """Ask for it now."""
    row.attempts, row.due_at = 0, timezone.now()
    row.save(update_fields=["attempts", "due_at"])
    queue.enqueue(OffersMachine.name, row.pk)


class OffersMachine(Machine[Offers]):
    """Asks, keeps the answer, and asks again when it is old, as long as there are workspaces that want it."""

    name = "offers"
    model = Offers

    def load(self, pk: str) -> Offers | None:
        """The row with its configuration."""
        return Offers.objects.select_related("cloud_configuration").filter(pk=pk).first()

    def advance(self, row: Offers) -> Step:
        """Ask."""
        if not _workspaces(row):
            return Step({}, Settled())
        cloud = cloud_of(row.cloud_configuration)
        types = [asdict(each) for each in cloud.instance_types(row.region)]
        return Step({"types": types, "zones": list(cloud.zones(row.region))}, Settled())

    def apply(self, row: Offers, step: Step) -> None:
        """Keep what was said."""
        row.handle = {}
        row.progress_message = row.failure_code = row.failure_message = row.failure_hint = ""
        if "types" in step.handle:
            row.types, row.zones, row.fetched_at = step.handle["types"], step.handle["zones"], timezone.now()
            row.due_at = row.fetched_at + timedelta(seconds=cloud_of(row.cloud_configuration).catalogue_seconds)

    def fail(self, row: Offers, error: CloudError) -> None:
        """What was said before stays."""
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
        row.progress_message = ""
        row.due_at = timezone.now() + TRY_AGAIN

    def saved(self, row: Offers) -> None:
        """Tell the forms that wait for it."""
        for pk in _workspaces(row):
            events.notify(pk, f"offers-{row.pk}")


def _workspaces(row: Offers) -> list[UUID]:
    there = Workspace.objects.filter(
        cloud_configuration=row.cloud_configuration_id, region=row.region, status=WorkspaceStatus.READY
    )
    return list(there.values_list("pk", flat=True))
