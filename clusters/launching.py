"""Whether machines may be started now. The apps above put their own checks here: what may be spent, who has paid."""

from __future__ import annotations

from collections.abc import Callable

from accounts.audit import Actor
from accounts.models import User
from clusters.models import Cluster
from workspaces.models import Workspace

checks: list[Callable[[Actor, Cluster], None]] = []
"""Each is called inside the transaction that creates, resumes or restarts a cluster, or asks for more instances or
another maximum lifetime while it is wanted to run, with the cluster as it is wanted: locked, its new fields not
yet saved when it is there already. Raises UserError where it may not be; then nothing is written."""


def _no_limits(workspace: Workspace, user: User) -> list[str]:
    return []


room: Callable[[Workspace, User], list[str]] = _no_limits
"""What somebody may still launch in a workspace, a line for each limit. The billing app puts its own here."""


def allow(actor: Actor, cluster: Cluster) -> None:
    """Ask everybody. Raises UserError."""
    for check in checks:
        check(actor, cluster)
