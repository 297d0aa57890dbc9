"""What counts as the use of a cluster. Its idle time begins where the last of it ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.audit import Actor
from clusters.models import Activity, Cluster


def of_person(actor: Actor, what: Activity) -> dict[str, Any]:
    """The columns that say that somebody did something with a cluster, now."""
    name = str(actor.user) if actor.user else actor.label
    fields = {"last_activity_at": timezone.now(), "last_activity": what, "last_activity_name": name[:300]}
    fields |= {"last_activity_id": None}
    return {**fields, "last_used_by": actor.user} if actor.user else fields


def of_run(run: UUID, name: str, person_id: int | None = None) -> dict[str, Any]:
    """The columns that say that a run was put on a cluster, began or ended, now. ``person_id`` is who asked for it."""
    fields = {"last_activity_at": timezone.now(), "last_activity": Activity.RUN, "last_activity_name": name}
    fields |= {"last_activity_id": run}
    return {**fields, "last_used_by_id": person_id} if person_id else fields


def note(row: Cluster, fields: dict[str, Any]) -> list[str]:
    """Set the columns on a row, and return their names for ``update_fields``."""
    for name, value in fields.items():
        setattr(row, name, value)
    return [name.removesuffix("_by_id") + "_by" if name.endswith("_by_id") else name for name in fields]
