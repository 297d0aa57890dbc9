"""What is done about clusters that nobody uses: the platform tells, then pauses or stops; people put that off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from clusters import idleness, letters, services
from clusters.idleness import Outlook
from clusters.models import Cluster
from clusters.services import ACTIONS
from clusters.snooze_links import may_change
from portal import events
from portal.errors import UserError

logger = logging.getLogger(__name__)

LONGEST_SNOOZE = 24 * 60
"""Minutes: nobody puts it off by more than a day at a time."""

BATCH = 500
"""Clusters that are asked about in one go."""

REASONS = {"pause": "auto-pause", "stop": "auto-stop"}
"""As which the platform acts, by the action."""


# --- the platform ---------------------------------------------------------------------------------------------------


def pause_idle() -> int:
    """Pause and stop what ``idleness.outlook`` says is due, and return how many there were."""
    due = Cluster.objects.idle_at(timezone.now()).order_by("last_activity_at").only("workspace_id", "busy_with")
    return _each_that_sleeps(list(due), _let_go)


def warn_idle() -> int:
    """Tell who used the clusters that will soon be let go, and return how many people were told.

    Once for each time at which a cluster would be let go: ``announced_for`` keeps it, in the transaction of the mail.
    """
    now, longest = timezone.now(), settings.PORTAL_IDLE_WARNING_MINUTES
    told = Q(auto_pause_minutes__gte=idleness.SHORTEST_WARNED) | Q(auto_stop_minutes__gte=idleness.SHORTEST_WARNED)
    soon = Cluster.objects.idle_at(now + timedelta(minutes=longest)).filter(told, dedicated_to=None)
    rows = soon.defer("handle", "nodes", "description", "tags") if longest else []
    return _each_that_sleeps([row for row in rows if _to_be_told(row, idleness.outlook(row, now), now)], _warn)


def _each_that_sleeps(clusters: list[Cluster], do: Callable[[UUID], bool]) -> int:
    count = 0
    for first in range(0, len(clusters), BATCH):
        batch = clusters[first : first + BATCH]
        alive = idleness.signals_of(batch)
        count += sum(_tried(do, cluster.pk) for cluster in batch if cluster.pk not in alive)
    return count


def _tried(do: Callable[[UUID], bool], pk: UUID) -> bool:
    try:
        return do(pk)
    except Exception:  # one mistake of ours must not let all the others run on
        logger.exception("The idle cluster %s could not be dealt with", pk)
        return False


@transaction.atomic
def _let_go(pk: UUID) -> bool:
    """With the row locked everything is asked again: a run, a snooze or a person may have been quicker."""
    row = _locked(pk)
    found, now = _outlook(row), timezone.now()
    if found is None or found.at is None or found.at > now or services.refusal_of(row, ACTIONS[found.action]):
        return False
    services.act(actor=audit.system(REASONS[found.action]), cluster=row, action=ACTIONS[found.action])
    return True


@transaction.atomic
def _warn(pk: UUID) -> bool:
    row = _locked(pk)
    found, now = _outlook(row), timezone.now()
    if found is None or found.at is None or not _to_be_told(row, found, now):
        return False
    row.announced_for = found.at
    row.save(update_fields=["announced_for"])
    person = next((user for user in (row.last_used_by, row.created_by) if user and may_change(row, user)), None)
    if person is None:
        return False
    letters.idle(person=person, cluster=row, outlook=found, at=found.at)
    _record(audit.system("idle"), "cluster.warn", row, to=person.email, action=found.action, at=found.at.isoformat())
    return True


def _to_be_told(row: Cluster, found: Outlook | None, now: datetime) -> bool:
    if found is None or found.at is None or found.at <= now or row.announced_for == found.at:
        return False
    before = idleness.warned_before(found, settings.PORTAL_IDLE_WARNING_MINUTES)
    return before is not None and found.at - before <= now


# --- people ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def snooze_cluster(
    *, actor: Actor, cluster: Cluster, minutes: int, idle_since: datetime | None = None, via: str = ""
) -> datetime:
    """Let a cluster run on for so many minutes from now, at least, and return until when. A longer snooze stays.

    ``idle_since`` is the last activity that whoever asks knows of; ``via`` how they asked, for the audit log. Raises
    UserError(SnoozeTooLong, NothingToSnooze, UsedSince).
    """
    row = _locked(cluster.pk)
    refuse_snooze(row, _outlook(row), idle_since)
    if not 0 < minutes <= LONGEST_SNOOZE:
        raise UserError(
            "SnoozeTooLong", "It can be snoozed for at most 24 hours.", "Choose a shorter time.", status=422
        )
    until = timezone.now() + timedelta(minutes=minutes)
    if row.snoozed_until and row.snoozed_until >= until:
        return row.snoozed_until
    before, row.snoozed_until = row.snoozed_until, until
    row.snoozed_by = str(actor.user or actor.label)[:300]
    row.save(update_fields=["snoozed_until", "snoozed_by"])
    how = {"via": via} if via else {}
    _record(actor, "cluster.snooze", row, before=_until(before), after=_until(until), **how)
    events.notify(row.workspace_id, f"cluster-{row.pk}")
    return until


def refuse_snooze(cluster: Cluster, found: Outlook | None, idle_since: datetime | None = None) -> None:
    """Raise UserError(NothingToSnooze, UsedSince) where there is nothing to put off."""
    if found is None:
        raise UserError(
            "NothingToSnooze",
            f"The cluster {cluster.name} is {cluster.status}, so there is nothing to put off.",
            "Sign in and open its page. A cluster that was paused or stopped can be resumed there.",
        )
    if not found.action:
        raise UserError(
            "NothingToSnooze",
            f"The cluster {cluster.name} is not set to be {'stopped' if cluster.status == 'PAUSED' else 'paused'}.",
            "It stays as it is until somebody changes it on its page.",
        )
    if idle_since is not None and cluster.last_activity_at != idle_since:
        raise UserError(
            "UsedSince",
            f"The cluster {cluster.name} was used since that mail was written, and its idle time begins anew.",
            "There is nothing to do. Another mail comes before it is paused or stopped.",
        )


@transaction.atomic
def end_snooze(*, actor: Actor, cluster: Cluster) -> None:
    """Let it be paused or stopped as if nobody had put that off; at once, if its time is over. Nothing where it is not
    snoozed."""
    row = _locked(cluster.pk)
    if row.snoozed_until is None:
        return
    before, row.snoozed_until = row.snoozed_until, None
    row.save(update_fields=["snoozed_until"])
    _record(actor, "cluster.end_snooze", row, before=_until(before), after=_until(None))
    events.notify(row.workspace_id, f"cluster-{row.pk}")


def _locked(pk: UUID) -> Cluster:
    rows = Cluster.objects.select_for_update(of=("self",))
    return rows.select_related("workspace__organization", "created_by", "last_used_by").get(pk=pk)


def _outlook(row: Cluster) -> Outlook | None:
    return idleness.outlook(row, timezone.now(), idleness.signals_of([row]).get(row.pk, ()))


def _until(at: datetime | None) -> dict[str, str | None]:
    return {"snoozed_until": at.isoformat() if at else None}


def _record(actor: Actor, verb: str, cluster: Cluster, **detail: Any) -> None:
    workspace = cluster.workspace
    audit.record(actor, verb, cluster, organization=workspace.organization, workspace=workspace.name, **detail)
