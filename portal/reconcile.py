"""The one engine that makes wishes true: lease, advance, save; and the sweep that forgets nothing.

A row says what is wanted (``target``, ``revision``) and holds what the cloud needs to go on (``handle``). ``run``
takes the row's lease, asks its machine to *advance* outside any transaction, and *applies* the answer in one: handle,
status, events and ledger commit together, guarded by the lease token. Then again, until nothing is due now.

    crash before advance      → the lease runs out, the sweep sends it again
    crash inside advance      → the handle holds the intent; the next advance finds what was made
    crash before the save     → the same
    the wish changed meanwhile → ``revision`` differs: the handle is kept, the outcome is not, and it goes on at once
    two workers               → the second finds the lease taken; a late first finds its token gone, drops its answer
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from portal import queue
from portal.clouds.base import CloudError, Event, Failed, Level, Pending, Settled, Step
from portal.models import Reconciled, record_event, record_events

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
NUDGE_AGAIN = timedelta(seconds=3)
MAX_ATTEMPTS = 6
Row = TypeVar("Row", bound=Reconciled)


class Machine(Generic[Row]):
    """How one kind of row is made true."""

    name: ClassVar[str]
    model: type[Row]

    def load(self, pk: str) -> Row | None:
        """The row with what ``advance`` reads, or None if it is gone."""
        raise NotImplementedError

    def advance(self, row: Row) -> Step:
        """Ask the cloud for one step. Outside any transaction; may raise CloudError."""
        raise NotImplementedError

    def apply(self, row: Row, step: Step) -> None:
        """Take the answer over into status and ledger. Inside the transaction, on the locked row; does not save."""
        raise NotImplementedError

    def fail(self, row: Row, error: CloudError) -> None:
        """Take over that the wish cannot be fulfilled. Inside the transaction, on the locked row; does not save."""
        raise NotImplementedError

    def saved(self, row: Row) -> None:
        """Tell whoever looks at the row. Inside the transaction, after the save."""


_machines: dict[str, Machine[Any]] = {}


def register(machine: Machine[Any]) -> None:
    """Make a machine known to the engine and to the sweep."""
    _machines[machine.name] = machine


def run(name: str, pk: str) -> None:
    """Advance one row until it is settled or has to wait."""
    machine = _machines[name]
    token = uuid.uuid4()
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    taken = machine.model._default_manager.filter(free, pk=pk, due_at__isnull=False).update(
        lease_token=token, lease_until=now + LEASE
    )
    while taken:
        row = machine.load(pk)
        if row is None:
            return
        try:
            step = machine.advance(row)
        except CloudError as error:
            step = Step(row.handle, Failed(error))
        except Exception:
            logger.exception("Reconciling %s %s failed", name, pk)
            step = Step(row.handle, Failed(CloudError("InternalError", "The portal made a mistake; it is in the log.")))
        try:
            taken = _save(machine, row, token, step)
        except Exception:
            logger.exception("The answer for %s %s could not be taken over", name, pk)
            taken = _put_off(machine, row, token, step)


@transaction.atomic
def _save(machine: Machine[Any], seen: Reconciled, token: uuid.UUID, step: Step) -> bool:
    """Store the answer; True when there is more to do at once. Drops the answer if the lease is no longer ours."""
    row = machine.model._default_manager.select_for_update().filter(pk=seen.pk, lease_token=token).first()
    if row is None:
        logger.warning("Lost the lease of %s %s; its answer is dropped", machine.name, seen.pk)
        return False
    now = timezone.now()
    row.handle = step.handle
    record_events(row, step.events)
    outcome = step.outcome
    if isinstance(outcome, Failed):
        text = f"{outcome.error.message} {outcome.error.hint}".strip()
        record_event(row.pk, Event("", text, Level.ERROR))
    if row.revision != seen.revision:
        outcome = Pending(0)
        row.attempts = 0
    elif row.due_at != seen.due_at and isinstance(outcome, Pending):
        outcome = replace(outcome, after=0)  # somebody asked for another look meanwhile
    match outcome:
        case Failed(error) if not error.permanent and row.attempts + 1 < MAX_ATTEMPTS:
            row.attempts += 1
            row.due_at = now + timedelta(seconds=2**row.attempts)
            row.progress_message = f"{error.message} Trying again ({row.attempts} of {MAX_ATTEMPTS - 1})."[:500]
        case Failed(error):
            row.attempts = 0
            row.due_at = None
            machine.fail(row, error)
        case Pending(after):
            row.attempts = row.attempts if outcome.trying else 0
            row.due_at = now + timedelta(seconds=after)
            machine.apply(row, Step(step.handle, outcome, step.events))
        case Settled():
            row.attempts = 0
            row.due_at = None
            machine.apply(row, step)
    again = row.due_at is not None and row.due_at <= now
    row.lease_token = token if again else None
    row.lease_until = now + LEASE if again else None
    row.save(update_fields=[field.name for field in row._meta.concrete_fields if not field.primary_key])
    machine.saved(row)
    return again


def _put_off(machine: Machine[Any], seen: Reconciled, token: uuid.UUID, step: Step) -> bool:
    """A mistake of ours kept the answer from being stored: keep the handle at least, and look again after a pause."""
    attempts = min(seen.attempts + 1, MAX_ATTEMPTS)
    machine.model._default_manager.filter(pk=seen.pk, lease_token=token).update(
        handle=step.handle,
        attempts=attempts,
        due_at=timezone.now() + timedelta(seconds=2**attempts),
        progress_message="The portal made a mistake; it is in the log. Trying again.",
        lease_token=None,
        lease_until=None,
    )
    return False


def sweep() -> int:
    """Send every row that is due to the workers, and return how many there were.

    A row that was sent is due again a few seconds later, so that a queue that loses it costs just these, and so that
    several schedulers do not send it twice.
    """
    count = 0
    if not _anything_due():
        return 0
    for machine in _machines.values():
        now = timezone.now()
        free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
        due = machine.model._default_manager.filter(free, due_at__lte=now)
        for pk in due.order_by("due_at").values_list("pk", flat=True)[:500]:
            if due.filter(pk=pk).update(due_at=now + NUDGE_AGAIN):
                queue.send(machine.name, pk)
                count += 1
    return count


def _anything_due() -> bool:
    """One cheap question instead of a query for each machine: it is asked many times a second, mostly for nothing."""
    tables = (connection.ops.quote_name(machine.model._meta.db_table) for machine in _machines.values())
    question = " OR ".join(f"EXISTS (SELECT FROM {table} WHERE due_at <= %(now)s)" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {question or 'FALSE'}", {"now": timezone.now()})
        return bool(cursor.fetchone()[0])
