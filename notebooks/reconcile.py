"""How a notebook server is made true, and how it is watched."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from notebooks.models import TRANSITIONS, NotebookServer, S
from portal import events
from portal.clouds.base import CloudError, Event, Level, NotebookObservation, Settled, Step, Target
from portal.models import record_event
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration

logger = logging.getLogger(__name__)

RETRY = timedelta(seconds=60)
NOTE = timedelta(seconds=20)
"""How much later an activity must be to be worth a write."""

LOST = CloudError(
    "NotebookLost",
    "The notebook server has ended by itself, or was killed.",
    "Start it again. Files and notebooks are kept; what kernels held in memory is lost.",
    permanent=True,
)


def set_status(row: NotebookServer, status: str) -> None:
    """Move along TRANSITIONS; a move that is not in the table is a mistake of ours."""
    if status == row.status:
        return
    if status not in TRANSITIONS[row.status]:
        raise RuntimeError(f"A notebook server does not go from {row.status} to {status}.")
    row.status = status


class NotebookMachine(Machine[NotebookServer]):
    """NEW → INPROGRESS → RUNNING → STOPPING → STOPPED, TERMINATING → TERMINATED, or FAILED."""

    name = "notebook"
    model = NotebookServer

    def load(self, pk: str) -> NotebookServer | None:
        """The server with all that its cloud needs."""
        return NotebookServer.objects.select_related("workspace__cloud_configuration", "user").filter(pk=pk).first()

    def advance(self, row: NotebookServer) -> Step:
        """One step of the deployment."""
        cloud = cloud_of(row.workspace.cloud_configuration)
        return cloud.advance_notebook(row.spec(), row.handle, Target(row.target))

    def apply(self, row: NotebookServer, step: Step) -> None:
        """Statuses by the target."""
        settled = isinstance(step.outcome, Settled)
        row.failure_code = row.failure_message = row.failure_hint = ""
        if settled:
            row.progress_message, row.progress = "", None
        match row.target:
            case Target.RUNNING:
                set_status(row, S.INPROGRESS)
                if settled:
                    set_status(row, S.RUNNING)
                    row.deployed_generation, row.busy = row.generation, False
                    row.last_activity_at = timezone.now()
            case Target.STOPPED:
                set_status(row, S.STOPPING)
                if settled:
                    set_status(row, S.STOPPED)
            case _:
                set_status(row, S.TERMINATING)
                if settled:
                    set_status(row, S.TERMINATED)
                    row.sealed = ""

    def fail(self, row: NotebookServer, error: CloudError) -> None:
        """The reason stays on the page until the owner starts it again. Stopping and removing are tried again for as
        long as it takes: what is left would go on using the machine."""
        if row.target == Target.RUNNING:
            set_status(row, S.FAILED)
        else:
            row.due_at = timezone.now() + RETRY
            row.progress_message = f"{error.message} Trying again every minute."[:500]
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: NotebookServer) -> None:
        """Tell the owner's page."""
        events.notify(row.workspace_id, f"notebook-{row.pk}")


def observe() -> int:
    """Look at every server that should be running, with one call per configuration. Returns how many were lost."""
    by_configuration: dict[UUID, list[NotebookServer]] = defaultdict(list)
    watched = NotebookServer.objects.filter(status=S.RUNNING, target=Target.RUNNING, due_at=None)
    for row in watched.select_related("workspace"):
        by_configuration[row.workspace.cloud_configuration_id].append(row)
    lost = 0
    for configuration in CloudConfiguration.objects.filter(pk__in=by_configuration):
        rows = by_configuration[configuration.pk]
        try:
            seen = cloud_of(configuration).observe_notebooks([row.handle for row in rows])
        except CloudError as error:  # one account that does not answer must not hide the others
            logger.warning("The notebook servers of %s could not be observed: %s", configuration.pk, error)
            continue
        for row, observation in zip(rows, seen, strict=True):
            lost += record_observation(row, observation)
    return lost


@transaction.atomic
def record_observation(seen: NotebookServer, observation: NotebookObservation) -> bool:
    """Keep what was seen of a server; one that is gone has failed. True if it was lost by this observation."""
    active, now = observation.active_at, timezone.now()
    newest = now if observation.busy else min(active or seen.last_activity_at, now)
    moved = newest - seen.last_activity_at >= NOTE or observation.busy != seen.busy
    if observation.alive and not moved:
        return False
    row = NotebookServer.objects.select_for_update().get(pk=seen.pk)
    if row.revision != seen.revision or row.status != S.RUNNING or row.due_at is not None:
        return False
    if observation.alive:
        row.last_activity_at, row.busy = max(row.last_activity_at, newest), observation.busy
        row.save(update_fields=["last_activity_at", "busy"])
    else:
        set_status(row, S.FAILED)
        row.failure_code, row.failure_message, row.failure_hint = LOST.code, LOST.message, LOST.hint
        row.busy = False
        record_event(row.pk, Event("", LOST.message, Level.ERROR))
        row.save(update_fields=["status", "failure_code", "failure_message", "failure_hint", "busy"])
    events.notify(row.workspace_id, f"notebook-{row.pk}")
    return not observation.alive
