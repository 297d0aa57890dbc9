"""The clock of the schedules: each fire happens once, or is recorded with the reason why it did not.

A fire, its run and the schedule's next time are one transaction under the schedule's row lock, and the fire's row is
unique. So any number of schedulers may pass at once, and any of them may die at any line.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, takewhile
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from jobs import cron, services
from jobs.models import CatchUp, FireOutcome, JobSchedule, Run, ScheduleFire
from portal import events
from portal.errors import UserError

logger = logging.getLogger(__name__)

LATE = timedelta(minutes=2)
"""A fire that is no later than this happens as if it were in time; one that is later was missed."""

PASS_SECONDS = 0.5
"""After this a pass ends, and the next one goes on: who stops the scheduler does not wait for thousands of fires."""

BATCH = 500
MOST = 10_000
"""How many missed times are counted; a minutely schedule has 10,080 in a week."""


@dataclass
class _Progress:
    """How far this process is. Thousands that are due at once take minutes, and what waits for others was not missed:
    so their ``moment`` stays until all of them are fired, and the next one is at most LATE after it. ``ended`` is when
    the last pass ended; whoever was away since then for longer than LATE begins anew."""

    moment: datetime
    ended: datetime
    finished: bool = True

    def next_moment(self, now: datetime) -> datetime:
        """The moment whose fires are to be worked through now."""
        if now - self.ended > LATE:
            return now
        return min(now, self.moment + LATE) if self.finished else self.moment


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_progress = _Progress(_LONG_AGO, _LONG_AGO)


def fire_due() -> int:
    """Fire the schedules whose time has come, those that wait longest first, and return how many there were."""
    began, moment = time.monotonic(), _progress.next_moment(timezone.now())
    rows = JobSchedule.objects.filter(next_fire_at__lte=moment).order_by("next_fire_at").values_list("pk", flat=True)
    due, count, done = list(rows[:BATCH]), 0, 0
    while done < len(due) and (not done or time.monotonic() - began < PASS_SECONDS):
        count += _fire_alone(due[done], moment)
        done += 1
    _progress.moment, _progress.ended = moment, timezone.now()
    _progress.finished = done == len(due) < BATCH
    return count


def _fire_alone(pk: UUID, moment: datetime) -> bool:
    """One that cannot be handled must not keep the others from their time."""
    try:
        return _fire(pk, moment)
    except IntegrityError:  # this time has been: the machine's clock was set back
        logger.warning("The schedule %s has had this time; it waits for the next one", pk)
        _move_on(pk)
    except Exception:
        logger.exception("The schedule %s could not be fired", pk)
    return False


@transaction.atomic
def _fire(pk: UUID, now: datetime) -> bool:
    rows = JobSchedule.objects.select_for_update(skip_locked=True, of=("self",))
    schedule = rows.select_related("template", "workspace__organization").filter(pk=pk, next_fire_at__lte=now).first()
    if schedule is None or schedule.next_fire_at is None:
        return False
    first = schedule.next_fire_at
    later = cron.fires(schedule.cron, schedule.timezone, first)
    past = takewhile(lambda at: at <= now, chain([first], later))
    times = [at for at, _ in zip(past, range(MOST), strict=False)]
    latest = times[-1] if len(times) < MOST else _last_before(schedule, now)
    happens = now - latest <= LATE or schedule.catch_up == CatchUp.LATEST
    missed = [at for at in times if at != latest] if happens else times
    if missed:
        _record_missed(schedule, missed[0], len(missed), now)
    if happens:
        _submit(schedule, latest)
    schedule.next_fire_at = cron.next_fire(schedule.cron, schedule.timezone, now)
    schedule.save(update_fields=["next_fire_at"])
    events.notify(schedule.workspace_id, f"schedule-{schedule.pk}")
    return True


@transaction.atomic
def _move_on(pk: UUID) -> None:
    """Wait for the first time after the newest that was recorded."""
    schedule = JobSchedule.objects.select_for_update().get(pk=pk)
    newest = ScheduleFire.objects.of(schedule).first()
    if newest is not None and schedule.next_fire_at is not None and newest.fire_at >= schedule.next_fire_at:
        schedule.next_fire_at = cron.next_fire(schedule.cron, schedule.timezone, newest.fire_at)
        schedule.save(update_fields=["next_fire_at"])


def _last_before(schedule: JobSchedule, now: datetime) -> datetime:
    """The newest fire of a long past; the search begins a day ago, where a schedule with so many fires has some."""
    found = now - timedelta(days=1)
    for at in takewhile(lambda at: at <= now, cron.fires(schedule.cron, schedule.timezone, found)):
        found = at
    return found


def _submit(schedule: JobSchedule, fire_at: datetime) -> None:
    active = Run.objects.active_of(schedule).count()
    if active >= schedule.max_concurrent:
        were = "run was" if active == 1 else "runs were"
        detail = f"{active} {were} under way, and at most {schedule.max_concurrent} may be."
        _record(schedule, fire_at, FireOutcome.SKIPPED, detail=detail)
        return
    actor = audit.system(f"schedule {schedule.name}")
    try:
        with transaction.atomic():
            run = services.submit_template(actor=actor, template=schedule.template, schedule=schedule)
            detail = "Caught up after it was missed." if timezone.now() - fire_at > LATE else ""
            _record(schedule, fire_at, FireOutcome.STARTED, run=run, detail=detail)
    except UserError as error:
        _record(schedule, fire_at, FireOutcome.FAILED, detail=f"{error.message} {error.hint}".strip())


def _record_missed(schedule: JobSchedule, first: datetime, count: int, now: datetime) -> None:
    often = "It was" if count == 1 else f"{count}{' or more' if count >= MOST - 1 else ''} of its times were"
    detail = f"{often} not fired: the portal's scheduler was not there until {now:%F %H:%M} UTC."
    _record(schedule, first, FireOutcome.MISSED, missed=count, detail=detail)


def _record(
    schedule: JobSchedule,
    fire_at: datetime,
    outcome: FireOutcome,
    *,
    run: Run | None = None,
    missed: int = 0,
    detail: str = "",
) -> None:
    ScheduleFire.objects.create(
        schedule=schedule, fire_at=fire_at, outcome=outcome, run=run, missed=missed, detail=detail[:500]
    )
    if outcome != FireOutcome.STARTED:
        place = schedule.workspace
        audit.record(
            audit.system("scheduler"),
            f"schedule.{outcome.lower()}",
            schedule,
            organization=place.organization,
            workspace=place.name,
            time=f"{fire_at:%F %T} UTC",
            reason=detail,
        )
