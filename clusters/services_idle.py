"""What is done about clusters that nobody uses: the platform pauses and stops them, people put that off."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from clusters import idleness, services
from clusters.models import Cluster
from clusters.services import ACTIONS

logger = logging.getLogger(__name__)

BATCH = 500
"""Clusters that are asked about in one go."""

AUTO_PAUSE, AUTO_STOP = "auto-pause", "auto-stop"
REASONS = {"pause": AUTO_PAUSE, "stop": AUTO_STOP}


def pause_idle() -> int:
    """Pause and stop what ``idleness.outlook`` says is due, and return how many there were."""
    count = 0
    due = list(Cluster.objects.idle_at(timezone.now()).order_by("last_activity_at").only("workspace_id", "busy_with"))
    for first in range(0, len(due), BATCH):
        batch = due[first : first + BATCH]
        alive = idleness.signals_of(batch)
        count += sum(_tried(cluster.pk) for cluster in batch if cluster.pk not in alive)
    return count


def _tried(pk: UUID) -> bool:
    try:
        return _let_go(pk)
    except Exception:  # one that cannot be let go must not keep the others running
        logger.exception("The idle cluster %s could not be paused or stopped", pk)
        return False


@transaction.atomic
def _let_go(pk: UUID) -> bool:
    """With the row locked everything is asked again: a run, a snooze or a person may have been quicker."""
    row = Cluster.objects.select_for_update(of=("self",)).select_related("workspace").get(pk=pk)
    now = timezone.now()
    found = idleness.outlook(row, now, idleness.signals_of([row]).get(row.pk, ()))
    if found is None or found.at is None or found.at > now or services.refusal_of(row, ACTIONS[found.action]):
        return False
    services.act(actor=audit.system(REASONS[found.action]), cluster=row, action=ACTIONS[found.action])
    return True
