"""Clusters that nobody uses, for the museum: one that will be paused, and one that somebody snoozed."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from clusters import snooze_links
from jobs.models import Run
from tests.factories import make_cluster
from workspaces.models import Workspace


def fill_idle(owner: User, workspace: Workspace, run: Run) -> dict[str, str]:
    """Neither has machines; nobody looks for any."""
    now = timezone.now()
    used = {
        "created_by": owner,
        "last_activity": "run",
        "last_activity_id": run.pk,
        "last_activity_name": run.name,
        "last_activity_at": now - timedelta(minutes=17),
    }
    idle = make_cluster(workspace, name="exploration", auto_pause_minutes=60, auto_stop_minutes=600, **used)
    snoozed = make_cluster(
        workspace,
        name="backtest",
        auto_pause_minutes=15,
        snoozed_until=now + timedelta(hours=4),
        snoozed_by=str(owner),
        **used,
    )
    return {
        "idle_cluster": str(idle.pk),
        "snoozed_cluster": str(snoozed.pk),
        "snooze_key": snooze_links.key_of(idle, owner),
        "snoozed_key": snooze_links.key_of(snoozed, owner),
    }
