"""A pass of the scheduler over many schedules: when nothing is due, in a busy moment, and when all are due at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from bench import stand
from bench.lists import add_clusters, settle, signed_in
from bench.measure import Measurement

if TYPE_CHECKING:
    from workspaces.models import Workspace

SCHEDULES = 10_000
TEMPLATES = 500
CLUSTERS = 200
BUSY = 10
"""How many are due in a second of a busy moment: 10,000 hourly schedules at random minutes come to 3."""

REPEATS = 10


def scheduler_pass() -> Measurement:
    """The slowest kind of pass; its floor is the query for what is due.

    A pass ends after half a second, and the next one goes on with the same moment: when all are due at once, the notes
    say how many a second are fired.
    """
    with stand.database():
        workspace, _ = signed_in()
        add_schedules(workspace)
        settle()
        from jobs.models import ScheduleFire

        times: dict[str, list[float]] = {}
        floors: list[float] = []
        for name, due in {"nothing is due": 0, f"{BUSY} are due": BUSY, "all are due": SCHEDULES}.items():
            times[name] = []
            for turn in range(REPEATS):
                if turn == 0 or due < SCHEDULES:
                    make_due(due)  # when all are, the next pass goes on where the last one ended
                floors.append(seconds_of(query))
                times[name].append(seconds_of(fire))
        fired = ScheduleFire.objects.count() - BUSY * REPEATS
        rate = fired / sum(times["all are due"])
        notes = [f"When {name}: {statistics.median(values):.4f} s" for name, values in times.items()]
        notes.append(f"When all are due, {rate:.0f} are fired a second")
        worst = max(times.values(), key=statistics.median)
        return Measurement(worst, floors, notes)


def add_schedules(workspace: Workspace) -> None:
    """Nightly schedules of templates that run on clusters which take runs."""
    from jobs.models import JobSchedule
    from tests.factories import make_template

    places = [each for each in add_clusters(workspace, CLUSTERS) if each.status in {"RUNNING", "PAUSED"}]
    templates = [make_template(workspace, cluster=places[index % len(places)]) for index in range(TEMPLATES)]
    rows = (
        JobSchedule(workspace=workspace, template=templates[index % TEMPLATES], name=f"{index:05}", cron="0 3 * * *")
        for index in range(SCHEDULES)
    )
    JobSchedule.objects.bulk_create(rows, batch_size=1000)


def make_due(count: int) -> None:
    """So many are due since a moment ago, each at a time that it has not had; nothing is under way."""
    from django.utils import timezone

    from jobs.models import JobSchedule, Run

    Run.objects.exclude(status="SUCCEEDED").update(status="SUCCEEDED", due_at=None)
    now = timezone.now()
    JobSchedule.objects.update(next_fire_at=now + timedelta(hours=1))
    due = JobSchedule.objects.order_by("pk").values("pk")[:count]
    JobSchedule.objects.filter(pk__in=due).update(next_fire_at=now)


def query() -> None:
    """What every pass asks first."""
    from django.utils import timezone

    from jobs.firing import BATCH
    from jobs.models import JobSchedule

    due = JobSchedule.objects.filter(next_fire_at__lte=timezone.now()).order_by("next_fire_at")
    list(due.values_list("pk", flat=True)[:BATCH])


def fire() -> None:
    """One pass."""
    from jobs import firing

    firing.fire_due()


def seconds_of(call: Callable[[], None]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
