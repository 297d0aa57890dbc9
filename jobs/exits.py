"""What the exit of a process means for its run."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from clusters.ledger import RESTART
from clusters.models import ClusterStatus, Transition, TransitionKind
from jobs.models import Run, RunReason, RunStatus
from portal.clouds.base import Exit, ExitReason, Target

S = RunStatus
_MEANING: dict[ExitReason, tuple[RunStatus, RunReason]] = {
    ExitReason.EXITED: (S.FAILED, RunReason.NON_ZERO_EXIT),
    ExitReason.SIGNALLED: (S.FAILED, RunReason.SIGNALLED),
    ExitReason.RANK_FAILED: (S.FAILED, RunReason.RANK_FAILED),
    ExitReason.OUT_OF_MEMORY: (S.FAILED, RunReason.OUT_OF_MEMORY),
    ExitReason.DISK_FULL: (S.FAILED, RunReason.DISK_FULL),
    ExitReason.TIMEOUT: (S.TIMEOUT, RunReason.TIMEOUT),
    ExitReason.CANCELLED: (S.CANCELLED, RunReason.CANCELLED),
}

_REASONS_OF_LOSS = {
    Target.PAUSED: RunReason.CLUSTER_PAUSED,
    Target.STOPPED: RunReason.CLUSTER_STOPPED,
    Target.TERMINATED: RunReason.CLUSTER_DELETED,
    RESTART: RunReason.CLUSTER_RESTARTED,
}


def meaning(run: Run, exit_: dict[str, Any]) -> tuple[RunStatus, RunReason]:
    """The status and the reason that an exit, as ``as_json`` stores it, gives its attempt."""
    kind = ExitReason(exit_["reason"])
    if kind is ExitReason.EXITED and exit_["code"] == 0:
        return S.SUCCEEDED, RunReason.NONE
    return _why_lost(run) if kind is ExitReason.LOST else _MEANING[kind]


def as_json(found: Exit) -> dict[str, Any]:
    return {
        "reason": found.reason.value,
        "code": found.code,
        "started": found.started.isoformat() if found.started else None,
        "ended": found.ended.isoformat(),
        "signal": found.signal,
        "detail": found.detail,
    }


def _why_lost(row: Run) -> tuple[RunStatus, RunReason]:
    """A process that vanished with its machines: what happened to the cluster first since then says why, also
    where the cluster has gone on since."""
    began = row.attempt_rows.filter(number=row.attempt).values_list("started_at", flat=True).first()
    since = Q(at__gte=began) if began else Q()
    for line in Transition.objects.filter(since, cluster_id=row.cluster_id).order_by("seq"):
        if line.kind == TransitionKind.REQUEST and line.status in _REASONS_OF_LOSS:
            return S.CANCELLED, _REASONS_OF_LOSS[line.status]
        if line.status == ClusterStatus.FAILED:
            break
    return S.FAILED, RunReason.NODE_LOST
