"""Clusters that nobody uses, for the museum: one to be paused, one that somebody snoozed, one that was paused."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from clusters import snooze_links
from clusters.models import Transition
from jobs.models import Run
from tests.factories import make_cluster
from workspaces.models import Workspace


def fill_idle(owner: User, workspace: Workspace, run: Run) -> dict[str, str]:
    """None has machines; nobody looks for any."""
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
    _weekend(owner, workspace)
    return {
        "idle_cluster": str(idle.pk),
        "snoozed_cluster": str(snoozed.pk),
        "snooze_key": snooze_links.key_of(idle, owner),
        "snoozed_key": snooze_links.key_of(snoozed, owner),
    }


def _weekend(owner: User, workspace: Workspace) -> None:
    """Paused by the platform, two days ago."""
    cluster = make_cluster(
        workspace,
        name="weekend",
        status="PAUSED",
        target="PAUSED",
        deployed_instances=0,
        auto_pause_minutes=60,
        auto_stop_minutes=7 * 1440,
        created_by=owner,
        ledger_length=3,
        last_activity_at=timezone.now() - timedelta(days=2),
    )
    begin = timezone.now() - timedelta(days=2, hours=1)
    lines = [("STATUS", "RUNNING", 0, ""), ("REQUEST", "PAUSED", 60, "Bodo Cloud Platform (auto-pause)")]
    lines += [("STATUS", "PAUSED", 61, "")]
    for seq, (kind, status, minute, who) in enumerate(lines, 1):
        Transition.objects.create(
            cluster=cluster,
            seq=seq,
            at=begin + timedelta(minutes=minute),
            kind=kind,
            status=status,
            instance_type="local.1x",
            instances=2,
            actor_label=who,
        )
