"""Whoever stands above clusters may refuse a launch; then nothing is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.audit import Actor
from accounts.models import AuditEvent
from clusters import launching, services
from clusters.models import Cluster, ClusterStatus, Transition
from clusters.services import ACTIONS
from portal.clouds.base import Target
from portal.errors import UserError
from tests.factories import actor, make_cluster, make_organization, make_workspace
from workspaces.models import Workspace

S = ClusterStatus


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Targets and sizes that a check was asked for; it refuses all."""
    seen: list[tuple[str, int]] = []

    def refuse(by: Actor, cluster: Cluster) -> None:
        seen.append((cluster.target, cluster.instances))
        raise UserError("Broke", "There is no money.")

    monkeypatch.setattr(launching, "checks", [refuse])
    return seen


def create(workspace: Workspace) -> None:
    services.create_cluster(
        actor=actor(), workspace=workspace, name="c", instance_type="local.1x", instances=3, release="2026.10"
    )


def act(name: str, status: str, target: Target) -> Callable[[Workspace], None]:
    def launch(workspace: Workspace) -> None:
        cluster = make_cluster(workspace, status=status, target=target, instances=2)
        services.act(actor=actor(), cluster=cluster, action=ACTIONS[name])

    return launch


def scale(status: str, target: Target, instances: int) -> Callable[[Workspace], None]:
    def launch(workspace: Workspace) -> None:
        cluster = make_cluster(workspace, status=status, target=target, instances=2, deployed_instances=2)
        services.scale_cluster(actor=actor(), cluster=cluster, instances=instances)

    return launch


LAUNCHES = {
    "create": (create, [("RUNNING", 3)]),
    "resume": (act("resume", S.PAUSED, Target.PAUSED), [("RUNNING", 2)]),
    "restart": (act("restart", S.RUNNING, Target.RUNNING), [("RUNNING", 2)]),
    "more": (scale(S.RUNNING, Target.RUNNING, 5), [("RUNNING", 5)]),
}
OTHERS = {
    "pause": act("pause", S.RUNNING, Target.RUNNING),
    "delete": act("delete", S.RUNNING, Target.RUNNING),
    "fewer": scale(S.RUNNING, Target.RUNNING, 1),
    "more at rest": scale(S.PAUSED, Target.PAUSED, 5),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_launch_that_is_refused_writes_nothing(name: str, workspace: Workspace, asked: list[tuple[str, int]]) -> None:
    launch, wanted = LAUNCHES[name]
    events = AuditEvent.objects.count()
    with pytest.raises(UserError) as caught:
        launch(workspace)
    assert caught.value.code == "Broke"
    assert asked == wanted
    assert not Transition.objects.exists()
    assert AuditEvent.objects.count() == events
    assert Cluster.objects.exists() == (name != "create")
    assert Cluster.objects.filter(target=Target.PAUSED).exists() == (name == "resume")


@pytest.mark.parametrize("name", OTHERS)
def test_what_starts_no_machines_is_never_refused(
    name: str, workspace: Workspace, asked: list[tuple[str, int]]
) -> None:
    OTHERS[name](workspace)
    assert asked == []
