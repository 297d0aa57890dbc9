"""What becomes of a cluster that nobody uses: when it is paused or stopped, why, and what keeps it from that.

``outlook`` is the one truth: pages show what it says, warnings tell it, and the sweep does it and nothing else.

used by a run, or one waits for it   → busy: no time is set
else                                 → so many minutes after the last activity, and not before a snooze ends
spot                                 → it cannot pause, whatever is set
both pause and stop are set          → what comes first; at the same moment the stop, which would follow anyway
under way, stopped, failed, gone     → nothing comes next
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.urls import reverse

from clusters.models import Activity, Cluster, ClusterStatus
from portal.clouds.base import Target

MINUTE = timedelta(minutes=1)

SHORTEST_WARNED = 15
"""Minutes of auto-pause or auto-stop from which on people are told before: what is shorter is over before they read."""

AT_REST = {(ClusterStatus.RUNNING, Target.RUNNING), (ClusterStatus.PAUSED, Target.PAUSED)}
"""Status and target of clusters to which something can happen by itself."""


class Idleness(StrEnum):
    """How things stand."""

    BUSY = "BUSY"
    COUNTING = "COUNTING"
    SNOOZED = "SNOOZED"
    NEVER = "NEVER"


@dataclass(frozen=True)
class Signal:
    """What keeps a cluster alive, or did last, in words such as ``the run nightly``; ``url`` is its page, if any."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Outlook:
    """What comes next: ``action`` ("pause" or "stop", empty for never), after ``minutes`` without activity, at ``at``.

    ``at`` is None while the cluster is busy, and for never. A time that has passed means: at any moment. ``signals``
    are what it is busy with.
    """

    state: Idleness
    action: str = ""
    minutes: int = 0
    at: datetime | None = None
    signals: tuple[Signal, ...] = ()


def outlook(cluster: Cluster, now: datetime, signals: Iterable[Signal] = ()) -> Outlook | None:
    """What comes next for a cluster that its ``signals`` keep alive; None where nothing does by itself."""
    if not cluster.settled or (cluster.status, cluster.target) not in AT_REST:
        return None
    held = tuple(signals)
    plans = [("stop", cluster.auto_stop_minutes)]
    if cluster.status == ClusterStatus.RUNNING and not cluster.spot:
        plans.append(("pause", cluster.auto_pause_minutes))
    plans = [(action, minutes) for action, minutes in plans if minutes]
    if not plans:
        return Outlook(Idleness.NEVER, signals=held)
    action, minutes = min(plans, key=lambda plan: plan[1])
    if cluster.busy_with or held:
        return Outlook(Idleness.BUSY, action, minutes, signals=held)
    if cluster.snoozed_until is None or cluster.snoozed_until <= cluster.last_activity_at + minutes * MINUTE:
        return Outlook(Idleness.COUNTING, action, minutes, cluster.last_activity_at + minutes * MINUTE)
    overdue = [plan for plan in plans if cluster.last_activity_at + plan[1] * MINUTE <= cluster.snoozed_until]
    action, minutes = overdue[0]  # a stop before a pause
    state = Idleness.SNOOZED if cluster.snoozed_until > now else Idleness.COUNTING
    return Outlook(state, action, minutes, cluster.snoozed_until)


# --- what keeps a cluster alive -------------------------------------------------------------------------------------

sources: list[Callable[[Collection[Cluster]], dict[UUID, list[Signal]]]] = []
"""The apps above put functions here that name what keeps clusters alive, by their keys, whatever their number in few
queries. ``busy_with`` alone makes a cluster busy, too: then a source should say with what."""


def signals_of(clusters: Collection[Cluster]) -> dict[UUID, list[Signal]]:
    """What keeps these clusters alive, by their keys; those that nothing does are left out."""
    found: dict[UUID, list[Signal]] = defaultdict(list)
    for source in sources:
        for key, signals in source(clusters).items():
            found[key] += signals
    return dict(found)


def last_signal(cluster: Cluster) -> Signal | None:
    """What the last activity was, as far as it is known."""
    name = cluster.last_activity_name
    if cluster.last_activity == Activity.RUN and name:
        return Signal(f"the run {name}", reverse("jobs:detail", args=[cluster.workspace_id, cluster.last_activity_id]))
    if not cluster.last_activity:
        return None
    what = Activity(cluster.last_activity).label
    return Signal(f"{what} by {name}" if name else what)


def warned_before(outlook: Outlook, longest: int) -> timedelta | None:
    """How long before it acts people are told: ``longest`` minutes, or a third of the idle time where that is less;
    None where they are not told."""
    if not longest or outlook.minutes < SHORTEST_WARNED:
        return None
    return min(timedelta(minutes=longest), outlook.minutes * MINUTE / 3)
