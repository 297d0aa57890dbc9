"""The ledger of a cluster: what was asked for and what was reached, in order. The bill is made from nothing else.

Called inside the transaction of the change itself, with the cluster's row locked; the caller saves ``ledger_length``.
"""

from __future__ import annotations

from collections.abc import Callable

from django.utils import timezone

from accounts.audit import Actor
from clusters.models import Cluster, Transition, TransitionKind

RESTART = "RESTART"

followers: list[Callable[[Cluster, Transition], None]] = []
"""Called with each new line, inside its transaction. The apps above put their own here."""


def requested(cluster: Cluster, actor: Actor, *, restart: bool = False) -> None:
    """Somebody asked for the cluster's present target, or for a restart."""
    _append(cluster, TransitionKind.REQUEST, RESTART if restart else cluster.target, cluster.instances, actor.label)


def reached(cluster: Cluster) -> None:
    """The cluster's status is what it now says."""
    _append(cluster, TransitionKind.STATUS, cluster.status, cluster.deployed_instances, "")


def scaled(cluster: Cluster) -> None:
    """A change of size while running has come to an end. The number may be the old one, after a failure."""
    newest = cluster.transitions.order_by("-seq").first()
    if newest is None or newest.kind != TransitionKind.REQUEST:
        return
    _append(cluster, TransitionKind.SCALED, cluster.status, cluster.deployed_instances, "")


def _append(cluster: Cluster, kind: TransitionKind, status: str, instances: int, actor_label: str) -> None:
    newest = Transition.objects.filter(cluster=cluster).order_by("-seq").values_list("at", flat=True).first()
    now = timezone.now()
    cluster.ledger_length += 1
    line = Transition.objects.create(
        cluster=cluster,
        seq=cluster.ledger_length,
        at=max(now, newest or now),  # the clocks of two machines differ, and the bill needs an order
        kind=kind,
        status=status,
        instance_type=cluster.instance_type,
        instances=instances,
        actor_label=actor_label,
    )
    for follow in followers:
        follow(cluster, line)
