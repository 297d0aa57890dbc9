"""The hard end of a cluster: when it has run for its maximum lifetime it is stopped, whatever it does then.

It counts from when the cluster ran after rest, through restarts and changes of size. Ten minutes before, those
concerned are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Value
from django.utils import timezone

from accounts import audit, letters
from accounts.models import User
from accounts.permissions import WorkspaceRole
from clusters.models import Cluster
from clusters.services import ACTIONS, act, refusal_of
from portal import events
from portal.clouds.base import Target
from workspaces.access import roles_in
from workspaces.models import Workspace

AHEAD = timedelta(minutes=10)
"""How long before the end people are told."""

STOP = ACTIONS["stop"]


@dataclass(frozen=True)
class Work:
    """What a busy cluster works on: its name, its page, and who asked for it."""

    name: str
    url: str
    person: User | None


def _unknown(cluster: Cluster) -> Work | None:
    return None


work_on: Callable[[Cluster], Work | None] = _unknown
"""What a cluster works on. The jobs app, which stands above this one, puts its own here."""


def ends_soon(cluster: Cluster) -> bool:
    """Whether its lifetime ends within ``AHEAD``."""
    end = cluster.ends_at
    return end is not None and cluster.target == Target.RUNNING and end - timezone.now() <= AHEAD


def end_lifetimes() -> int:
    """Stop what has run for its maximum lifetime, tell of what soon has, and return how many were stopped."""
    now = timezone.now()
    lasts = ExpressionWrapper(
        F("max_lifetime_minutes") * Value(timedelta(minutes=1), DurationField()), output_field=DurationField()
    )
    end = ExpressionWrapper(F("running_since") + lasts, output_field=DateTimeField())
    limited = Cluster.objects.filter(max_lifetime_minutes__gt=0, running_since__isnull=False, target=Target.RUNNING)
    count = 0
    for cluster in limited.annotate(end=end).filter(end__lte=now + AHEAD):
        if cluster.ends_at is not None and cluster.ends_at <= now:
            count += _stop(cluster)
        elif cluster.told_end != cluster.ends_at:
            _tell(cluster)
    return count


@transaction.atomic
def _stop(seen: Cluster) -> bool:
    row = Cluster.objects.select_for_update().get(pk=seen.pk)
    if row.ends_at is None or row.ends_at > timezone.now() or refusal_of(row, STOP):
        return False
    act(actor=audit.system("maximum lifetime"), cluster=row, action=STOP)
    return True


@transaction.atomic
def _tell(seen: Cluster) -> None:
    """Once for each end: a longer lifetime has another one."""
    row = Cluster.objects.select_for_update(of=("self",)).select_related("workspace", "created_by").get(pk=seen.pk)
    if not ends_soon(row) or row.told_end == row.ends_at or row.ends_at is None:
        return
    row.told_end = row.ends_at
    row.save(update_fields=["told_end"])
    work = work_on(row) if row.busy_with else None
    for person in people_of(row, work):
        _letter(person, row, row.ends_at, work)
    events.notify(row.workspace_id, f"cluster-{row.pk}")


def people_of(cluster: Cluster, work: Work | None) -> list[User]:
    """Whom the end of a cluster concerns: who made it and whose run it has; else the admins of its workspace."""
    named = {user.pk: user for user in (cluster.created_by, work and work.person) if user}
    here = roles_in(cluster.workspace, list(named.values()))
    return [user for pk, user in named.items() if pk in here] or admins_of(cluster.workspace)


def admins_of(workspace: Workspace) -> list[User]:
    """The people who have the role ADMIN in a workspace and can sign in."""
    rows = User.objects.filter(
        workspace_memberships__workspace=workspace, workspace_memberships__role=WorkspaceRole.ADMIN, is_active=True
    )
    return list(rows.order_by("pk"))


def _letter(person: User, cluster: Cluster, end: datetime, work: Work | None) -> None:
    cut = f" The job {work.name} is under way on it and is cancelled then." if work else ""
    letters.send(
        person.email,
        f"{cluster.name} is stopped at {end:%H:%M} UTC",
        f"The cluster {cluster.name} in the workspace {cluster.workspace} has a maximum lifetime of "
        f"{cluster.max_lifetime_minutes} minutes, which is over at {end:%Y-%m-%d %H:%M} UTC. It is stopped then: its "
        f"machines and disks are removed, its definition stays.{cut}",
        "To let it run for longer, give it a longer maximum lifetime on its page:",
        settings.SITE_URL + cluster.get_absolute_url(),
    )
