"""Clusters from the wish to the machines: every action from every status, faults, and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from accounts import audit
from accounts.models import AuditEvent
from clusters import reconcile, services
from clusters.models import TRANSITIONS, Cluster, ClusterStatus, Transition, TransitionKind
from clusters.services import ACTIONS
from portal.clouds.base import CloudError, Health, Target
from portal.errors import UserError
from tests.factories import actor, make_cluster, make_configuration, make_organization, make_user, make_workspace
from tests.fakes import FakeCloud, Workers, denied, throttled, unreachable
from workspaces.models import Workspace

S = ClusterStatus


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


def create(workspace: Workspace, **fields: Any) -> Cluster:
    values: dict[str, Any] = {"name": "c", "instance_type": "local.1x", "instances": 2, "release": "2026.10", **fields}
    return services.create_cluster(actor=actor(), workspace=workspace, **values)


@pytest.fixture
def running(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> Cluster:
    """A cluster that the fake cloud really runs."""
    cluster = create(workspace)
    workers.work()
    cluster.refresh_from_db()
    assert cluster.status == S.RUNNING
    return cluster


def act(cluster: Cluster, name: str) -> None:
    services.act(actor=actor(), cluster=cluster, action=ACTIONS[name])


def story(cluster: Cluster) -> list[str]:
    """The ledger in short, and a check that every status came from the one before it along the table."""
    lines = list(cluster.transitions.order_by("seq"))
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert all(before.at <= after.at for before, after in pairwise(lines))
    statuses = [S.NEW.value, *(line.status for line in lines if line.kind == TransitionKind.STATUS)]
    assert all(after in TRANSITIONS[before] for before, after in pairwise(statuses))
    cluster.refresh_from_db()
    assert cluster.ledger_length == len(lines)
    short = {TransitionKind.REQUEST: "?", TransitionKind.STATUS: "", TransitionKind.SCALED: "="}
    return [f"{line.status}{short[TransitionKind(line.kind)]}{line.instances}" for line in lines]


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_status_can_be_reached_and_left() -> None:
    reached, before = {S.NEW.value}, set[str]()
    while reached != before:
        before = set(reached)
        reached |= {after for status in before for after in map(str, TRANSITIONS[status])}
    assert reached == set(S.values)
    assert {status for status in S if not TRANSITIONS[status]} == {S.TERMINATED}
    assert {status for status in S if S.TERMINATED in TRANSITIONS[status]} == {S.TERMINATING}


@pytest.mark.parametrize("status", S.values)
def test_a_move_that_is_not_in_the_table_raises(status: str, workspace: Workspace) -> None:
    cluster = make_cluster(workspace, status=status)
    for other in S:
        if other != status and other not in TRANSITIONS[status]:
            with pytest.raises(RuntimeError, match="does not go from"):
                reconcile.set_status(cluster, other)
    assert cluster.transitions.count() == 0


# --- actions --------------------------------------------------------------------------------------------------------

ALLOWED = {
    "resume": {S.PAUSED, S.STOPPED, S.FAILED},
    "pause": {S.RUNNING},
    "restart": {S.RUNNING},
    "stop": {S.NEW, S.INPROGRESS, S.INITIALIZING, S.RUNNING, S.PAUSING, S.PAUSED, S.FAILED},
    "delete": set(S) - {S.TERMINATING, S.TERMINATED},
}
END = {"resume": S.RUNNING, "pause": S.PAUSED, "restart": S.RUNNING, "stop": S.STOPPED, "delete": S.TERMINATED}
TARGET_OF = {
    S.PAUSING: Target.PAUSED,
    S.PAUSED: Target.PAUSED,
    S.STOPPING: Target.STOPPED,
    S.STOPPED: Target.STOPPED,
    S.TERMINATING: Target.TERMINATED,
    S.TERMINATED: Target.TERMINATED,
}


@pytest.mark.parametrize("status", S.values)
@pytest.mark.parametrize("name", ACTIONS)
def test_each_action_from_each_status(
    name: str, status: str, workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    failure = {"failure_code": "NodeLost", "failure_message": "gone"} if status == S.FAILED else {}
    target = TARGET_OF.get(S(status), Target.RUNNING)
    fake_cloud.looks = fake_cloud.going = 0
    cluster = make_cluster(workspace, status=status, target=target, instances=1, deployed_instances=1, **failure)
    if status not in ALLOWED[name]:
        with pytest.raises(UserError, match="NotNow"):
            act(cluster, name)
        cluster.refresh_from_db()
        assert (cluster.target, cluster.revision, cluster.ledger_length) == (target, 1, 0)
        assert not AuditEvent.objects.filter(object_id=str(cluster.pk)).exists()
        return
    act(cluster, name)
    event = AuditEvent.objects.get(object_id=str(cluster.pk))
    assert (event.verb, event.detail["status"]) == (f"cluster.{name}", status)
    workers.work()
    cluster.refresh_from_db()
    assert (cluster.status, cluster.due_at, cluster.failure_code) == (END[name], None, "")
    assert len(fake_cloud.nodes(cluster.pk)) == (1 if END[name] == S.RUNNING else 0)


def test_the_whole_life_in_the_ledger(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    for name in ("pause", "resume", "restart", "stop", "resume", "delete"):
        running.refresh_from_db()
        act(running, name)
        workers.work()
    assert story(running) == [
        *("RUNNING?2", "INPROGRESS0", "INITIALIZING0", "RUNNING2"),
        *("PAUSED?2", "PAUSING0", "PAUSED0"),
        *("RUNNING?2", "INPROGRESS0", "INITIALIZING0", "RUNNING2"),
        *("RESTART?2", "INPROGRESS0", "INITIALIZING0", "RUNNING2"),
        *("STOPPED?2", "STOPPING0", "STOPPED0"),
        *("RUNNING?2", "INPROGRESS0", "INITIALIZING0", "RUNNING2"),
        *("TERMINATED?2", "TERMINATING0", "TERMINATED0"),
    ]
    assert (fake_cloud.things, fake_cloud.duplicates) == ({}, [])


def test_pause_keeps_the_disks_and_stop_does_not(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    act(running, "pause")
    workers.work()
    assert sorted(fake_cloud.things) == [f"{running.pk}/disk-0", f"{running.pk}/disk-1"]
    act(running, "stop")
    workers.work()
    assert fake_cloud.things == {}


def test_a_restart_gives_other_machines(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    before = {fake_cloud.things[key].id for key in fake_cloud.nodes(running.pk)}
    act(running, "restart")
    with pytest.raises(UserError, match="under way"):
        act(running, "restart")
    workers.work()
    assert not before & {fake_cloud.things[key].id for key in fake_cloud.nodes(running.pk)}


def test_a_name_is_free_again_once_its_cluster_is_gone(running: Cluster, workers: Workers) -> None:
    with pytest.raises(UserError, match="NameTaken"):
        create(running.workspace, name="C")
    act(running, "delete")
    with pytest.raises(UserError, match="NameTaken"):
        create(running.workspace, name="c")
    workers.work()
    create(running.workspace, name="c")


def test_no_cluster_in_a_workspace_that_is_not_ready(workspace: Workspace) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(target=Target.TERMINATED)
    with pytest.raises(UserError, match="WorkspaceNotReady"):
        create(workspace)


# --- editing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", S.values)
def test_what_can_be_edited_in_each_status(status: str, workspace: Workspace) -> None:
    cluster = make_cluster(workspace, status=status, target=TARGET_OF.get(S(status), Target.RUNNING))
    if status in {S.TERMINATING, S.TERMINATED}:
        with pytest.raises(UserError, match="NotNow"):
            services.update_cluster(actor=actor(), cluster=cluster, name="other")
        return
    services.update_cluster(actor=actor(), cluster=cluster, name="other", auto_pause_minutes=7)
    cluster.refresh_from_db()
    assert (cluster.name, cluster.auto_pause_minutes) == ("other", 7)
    if status == S.STOPPED:
        services.update_cluster(actor=actor(), cluster=cluster, instance_type="local.2x")
        return
    with pytest.raises(UserError, match="instance type cannot be changed"):
        services.update_cluster(actor=actor(), cluster=cluster, instance_type="local.2x", name="third")
    cluster.refresh_from_db()
    assert (cluster.name, cluster.instance_type) == ("other", "local.1x")


def test_another_instance_type_makes_other_machines(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    act(running, "stop")
    workers.work()
    services.update_cluster(actor=actor(), cluster=running, instance_type="local.4x")
    act(running, "resume")
    workers.work()
    assert {fake_cloud.things[key].fingerprint for key in fake_cloud.nodes(running.pk)} == {"local.4x 2026.10 1"}


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_stock_out_on_create_fails_with_the_hint_and_costs_nothing(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.capacity = 1
    cluster = create(workspace)
    workers.work()
    cluster.refresh_from_db()
    assert (cluster.status, cluster.failure_code, cluster.failure_hint) == (
        S.FAILED,
        "InsufficientCapacity",
        "Ask for fewer.",
    )
    assert (cluster.due_at, fake_cloud.things, cluster.progress_message) == (None, {}, "")
    assert "RUNNING2" not in story(cluster)
    fake_cloud.capacity = 2
    act(cluster, "resume")
    workers.work()
    cluster.refresh_from_db()
    assert (cluster.status, cluster.failure_code) == (S.RUNNING, "")


def test_a_failed_cluster_can_be_deleted_while_its_machines_are_removed(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.fault(denied, "ready", skip=3)
    cluster = create(workspace)
    while cluster.status != S.FAILED:
        workers.clock.move(seconds=1)
        workers.run(cluster)
        cluster.refresh_from_db()
    act(cluster, "delete")
    workers.work()
    cluster.refresh_from_db()
    assert (cluster.status, fake_cloud.things) == (S.TERMINATED, {})


@pytest.mark.parametrize("error", [denied, throttled])
@pytest.mark.parametrize(("name", "status"), [("delete", S.TERMINATING), ("stop", S.FAILED), ("pause", S.FAILED)])
def test_a_removal_that_fails_is_never_shown_as_done_and_is_tried_until_it_is(
    name: str, status: str, error: Callable[[], CloudError], running: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.fault(error, "delete", times=1000)
    act(running, name)
    workers.work(seconds=200)
    running.refresh_from_db()
    assert (running.status, len(fake_cloud.nodes(running.pk))) == (status, 2)
    assert running.due_at is not None
    fake_cloud.heal()
    workers.work()
    running.refresh_from_db()
    assert fake_cloud.nodes(running.pk) == []
    assert running.status == (S.TERMINATED if name == "delete" else S.FAILED)


def test_terminated_only_when_the_provider_confirms(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.hanging = set(fake_cloud.nodes(running.pk))
    act(running, "delete")
    workers.work(seconds=10)
    running.refresh_from_db()
    assert running.status == S.TERMINATING
    fake_cloud.heal()
    workers.work()
    running.refresh_from_db()
    assert running.status == S.TERMINATED


def test_a_lost_node_fails_the_cluster_and_removes_the_rest(
    running: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.vanish(running.pk, 1)
    assert workers.do(reconcile.observe) == 1
    running.refresh_from_db()
    assert (running.status, running.failure_code) == (S.FAILED, "NodeLost")
    assert "node-1" in running.failure_message
    assert workers.do(reconcile.observe) == 0
    workers.work()
    running.refresh_from_db()
    assert (fake_cloud.things, running.status, running.nodes) == ({}, S.FAILED, [])
    assert story(running)[-1] == "FAILED0"
    assert AuditEvent.objects.get(verb="cluster.fail").actor_kind == "system"


def test_machines_that_go_on_request_are_not_lost(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    workers.periodic.append(reconcile.observe)
    services.scale_cluster(actor=actor(), cluster=running, instances=1)
    workers.work()
    act(running, "restart")
    workers.work()
    assert workers.do(reconcile.observe) == 0
    running.refresh_from_db()
    assert (running.status, running.failure_code, len(running.nodes)) == (S.RUNNING, "", 1)


def test_an_observation_of_the_past_is_ignored(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    seen = Cluster.objects.get(pk=running.pk)
    act(running, "restart")
    workers.work()
    (observation,) = fake_cloud.observe_clusters([seen.handle])
    lost = replace(observation, nodes=[replace(node, health=Health.LOST) for node in observation.nodes])
    assert not reconcile.record_observation(seen, lost)
    assert reconcile.record_observation(Cluster.objects.get(pk=running.pk), lost)


def test_an_account_that_does_not_answer_does_not_hide_the_nodes_of_others(
    workers: Workers, fake_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [make_workspace(make_organization(), make_configuration(make_organization())) for _ in range(3)]
    clusters = [create(place) for place in places]
    workers.work()
    broken = FakeCloud()
    broken.fault(unreachable, "observe", times=100)
    good = {places[1].cloud_configuration_id}
    monkeypatch.setattr("workspaces.clouds._local", lambda id, _: fake_cloud if id in good else broken)
    fake_cloud.vanish(clusters[1].pk, 0)
    assert workers.do(reconcile.observe) == 1


# --- scaling --------------------------------------------------------------------------------------------------------


def scale(cluster: Cluster, instances: int) -> None:
    services.scale_cluster(actor=actor(), cluster=cluster, instances=instances)


@pytest.mark.parametrize("instances", [1, 4])
def test_scaling_while_running(instances: int, running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    kept = fake_cloud.things[f"{running.pk}/node-0"].id
    scale(running, instances)
    running.refresh_from_db()
    assert not running.free
    workers.work()
    running.refresh_from_db()
    assert (running.status, running.deployed_instances, running.free) == (S.RUNNING, instances, True)
    assert len(fake_cloud.nodes(running.pk)) == instances
    assert fake_cloud.things[f"{running.pk}/node-0"].id == kept
    assert story(running)[-2:] == [f"RUNNING?{instances}", f"RUNNING={instances}"]


def test_a_stock_out_on_scaling_up_leaves_the_cluster_as_it_was(
    running: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.capacity = 3
    scale(running, 5)
    workers.work()
    running.refresh_from_db()
    assert (running.status, running.instances, running.deployed_instances) == (S.RUNNING, 2, 2)
    assert (len(fake_cloud.nodes(running.pk)), running.due_at, running.free) == (2, None, True)
    assert story(running)[-2:] == ["RUNNING?5", "RUNNING=2"]


def test_scaling_waits_for_the_end_of_a_run(running: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    import uuid

    holder = uuid.uuid4()
    assert services.claim(running.pk, holder)
    assert not services.claim(running.pk, uuid.uuid4())
    scale(running, 1)
    workers.work(seconds=60)
    assert len(fake_cloud.nodes(running.pk)) == 2
    workers.do(lambda: services.release(running.pk, holder))
    workers.work()
    assert len(fake_cloud.nodes(running.pk)) == 1


def test_scaling_that_is_taken_back_is_in_the_ledger(running: Cluster, workers: Workers) -> None:
    scale(running, 1)
    scale(running, 2)
    workers.work()
    assert story(running)[-3:] == ["RUNNING?1", "RUNNING?2", "RUNNING=2"]


@pytest.mark.parametrize("status", [S.PAUSED, S.STOPPED])
def test_scaling_at_rest_leaves_no_change_of_status(
    status: ClusterStatus, running: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    act(running, "pause" if status == S.PAUSED else "stop")
    workers.work()
    scale(running, 3)
    workers.work()
    assert story(running)[-2:] == [f"{status}0", f"{status}?3"]
    act(running, "resume")
    workers.work()
    assert len(fake_cloud.nodes(running.pk)) == 3


@pytest.mark.parametrize(
    "status", [S.NEW, S.INPROGRESS, S.INITIALIZING, S.PAUSING, S.STOPPING, S.TERMINATING, S.TERMINATED]
)
def test_no_scaling_on_the_way(status: ClusterStatus, workspace: Workspace) -> None:
    cluster = make_cluster(workspace, status=status, target=TARGET_OF.get(status, Target.RUNNING))
    with pytest.raises(UserError, match="NotNow"):
        scale(cluster, 3)


# --- the ledger -----------------------------------------------------------------------------------------------------


def test_the_ledger_goes_forward_whatever_the_clocks_say(running: Cluster, workers: Workers) -> None:
    newest = running.transitions.order_by("-seq")[0].at
    workers.clock.move(seconds=-30)
    act(running, "pause")
    line = Transition.objects.filter(cluster=running).order_by("-seq")[0]
    assert (line.kind, line.at) == (TransitionKind.REQUEST, newest)


def test_who_asked_is_in_the_ledger_and_in_the_audit_log(workspace: Workspace) -> None:
    alice = make_user("alice")
    cluster = services.create_cluster(
        actor=actor(alice), workspace=workspace, name="c", instance_type="local.1x", instances=1, release="2026.10"
    )
    services.act(actor=audit.system("auto-pause"), cluster=cluster, action=ACTIONS["stop"])
    labels = [line.actor_label for line in cluster.transitions.order_by("seq")]
    assert labels == [alice.email, "Bodo Cloud Platform (auto-pause)"]
    assert list(AuditEvent.objects.filter(object_id=str(cluster.pk)).order_by("at").values_list("verb", flat=True)) == [
        "cluster.create",
        "cluster.stop",
    ]
