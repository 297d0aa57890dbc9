"""The engine: leases, tokens, revisions, retries, and dying at every point."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from clusters import services as clusters
from clusters.models import Cluster
from clusters.services import ACTIONS
from portal import reconcile as engine
from portal.clouds.base import CloudError, Failed, Pending, Settled, Step
from portal.models import DeploymentEvent
from tests.factories import actor, make_cluster, make_configuration, make_organization, make_workspace
from tests.fakes import Clock, FakeCloud, Killed, Workers, denied, throttled
from workspaces import services as workspaces
from workspaces.models import Workspace, WorkspaceStatus


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


def new_cluster(workspace: Workspace, **fields: Any) -> Cluster:
    values: dict[str, Any] = {"name": "c", "instance_type": "local.1x", "instances": 2, "release": "2026.10", **fields}
    return clusters.create_cluster(actor=actor(), workspace=workspace, **values)


def new_workspace() -> Workspace:
    organization = make_organization()
    configuration = make_configuration(organization)
    return workspaces.create_workspace(
        actor=actor(), organization=organization, name="w", cloud_configuration=configuration, region="local"
    )


# --- leases ---------------------------------------------------------------------------------------------------------


def test_a_second_worker_finds_the_lease_taken(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> None:
    cluster = new_cluster(workspace)
    Cluster.objects.filter(pk=cluster.pk).update(
        lease_token=uuid.uuid4(), lease_until=workers.clock.at + timedelta(seconds=1)
    )
    workers.run(cluster)
    assert fake_cloud.calls == []
    workers.clock.move(seconds=2)
    workers.run(cluster)
    assert fake_cloud.calls


def test_a_settled_row_is_left_alone(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> None:
    workers.run(make_cluster(workspace))
    assert fake_cloud.calls == []


def test_a_worker_that_lost_its_token_drops_its_answer(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(workspace)
    other = uuid.uuid4()

    def late(row: Cluster) -> Step:
        Cluster.objects.filter(pk=row.pk).update(lease_token=other)
        return Step({"steps": {"mine": {}}}, Settled())

    monkeypatch.setattr(engine._machines["cluster"], "advance", late)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert (cluster.handle, cluster.status, cluster.lease_token) == ({}, "NEW", other)


def test_a_wish_that_changed_meanwhile_keeps_the_handle_and_goes_on(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(workspace)
    machine = engine._machines["cluster"]
    advance = machine.advance
    seen: list[str] = []

    def meanwhile(row: Cluster) -> Step:
        seen.append(row.target)
        if len(seen) == 1:
            clusters.act(actor=actor(), cluster=cluster, action=ACTIONS["delete"])
            return Step({"steps": {}, "kept": True}, Failed(denied()))
        assert row.handle["kept"]
        return advance(row)

    monkeypatch.setattr(machine, "advance", meanwhile)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert seen == ["RUNNING", "TERMINATED"]
    assert (cluster.status, cluster.failure_code) == ("TERMINATED", "")


def test_the_lease_is_renewed_at_each_step(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(workspace)
    machine = engine._machines["cluster"]
    advance = machine.advance
    left: list[float] = []

    def slow(row: Cluster) -> Step:
        left.append((row.lease_until - workers.clock.at).total_seconds() if row.lease_until else 0)
        workers.clock.move(seconds=20)
        return advance(row)

    monkeypatch.setattr(machine, "advance", slow)
    workers.run(cluster)
    assert len(left) > 3
    assert set(left) == {engine.LEASE.total_seconds()}


# --- dying ----------------------------------------------------------------------------------------------------------

POINTS = ("before advance", "after advance", "inside the save", "after the save")


class Killer:
    """Kills the worker the ``n``-th time it passes a point."""

    def __init__(self, name: str, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.point, self.left, self.struck = point, -1, False
        machine = engine._machines[name]
        advance, saved, save = machine.advance, machine.saved, engine._save

        def killing_advance(row: Any) -> Step:
            self.die("before advance")
            step = advance(row)
            self.die("after advance")
            return step

        def killing_saved(row: Any) -> None:
            saved(row)
            self.die("inside the save")

        def killing_save(*arguments: Any) -> bool:
            again = save(*arguments)
            self.die("after the save")
            return again

        monkeypatch.setattr(machine, "advance", killing_advance)
        monkeypatch.setattr(machine, "saved", killing_saved)
        monkeypatch.setattr(engine, "_save", killing_save)

    def arm(self, n: int) -> None:
        self.left, self.struck = n, False

    def die(self, point: str) -> None:
        if point != self.point or self.left < 0:
            return
        self.left -= 1
        if self.left < 0:
            self.struck = True
            raise Killed


def work_through_deaths(workers: Workers) -> None:
    for _ in range(10):
        try:
            return workers.work()
        except Killed:
            workers.sent.clear()  # and its queue was emptied as well
    raise AssertionError("killed again and again")


@pytest.mark.parametrize(("kind", "point"), [*(("cluster", point) for point in POINTS), ("workspace", "after advance")])
def test_dying_at_every_point_of_create_and_delete_leaves_nothing_twice_and_nothing_behind(
    kind: str,
    point: str,
    workspace: Workspace,
    fake_cloud: FakeCloud,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killer = Killer(kind, point, monkeypatch)
    fake_cloud.looks, fake_cloud.going, fake_cloud.disks = 0, 0, False
    deaths = []
    for n in range(50):
        row: Any = new_cluster(workspace, name=f"c{n}", instances=1) if kind == "cluster" else new_workspace()
        killer.arm(n)
        work_through_deaths(workers)
        made = killer.struck
        row.refresh_from_db()
        assert row.status in {"RUNNING", "READY"}
        assert (len(fake_cloud.things), fake_cloud.duplicates) == (1 if kind == "cluster" else 2, [])
        delete(row)
        killer.arm(n)
        work_through_deaths(workers)
        row.refresh_from_db()
        assert (row.status, row.due_at, row.lease_token) == ("TERMINATED", None, None)
        assert fake_cloud.things == {}
        deaths.append((made, killer.struck))
        if deaths[-1] == (False, False):
            break
    assert len(deaths) > 4


def delete(row: Any) -> None:
    if isinstance(row, Cluster):
        clusters.act(actor=actor(), cluster=row, action=ACTIONS["delete"])
    else:
        workspaces.delete_workspace(actor=actor(), workspace=row)


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
@pytest.mark.parametrize("error", [Killed, throttled], ids=["killed", "throttled"])
def test_losing_any_call_of_create_and_delete_leaves_nothing_twice_and_nothing_behind(
    error: Callable[[], BaseException], after: bool, workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.looks, fake_cloud.going, fake_cloud.disks = 0, 0, False
    for n in range(50):
        fake_cloud.fault(error, skip=n, after=after)
        cluster = new_cluster(workspace, name=f"c{n}", instances=1)
        work_through_deaths(workers)
        cluster.refresh_from_db()
        assert cluster.status == "RUNNING"
        assert len(fake_cloud.nodes(cluster.pk)) == 1
        delete(cluster)
        work_through_deaths(workers)
        cluster.refresh_from_db()
        assert cluster.status == "TERMINATED"
        assert (fake_cloud.things, fake_cloud.duplicates) == ({}, [])
        if fake_cloud.faults[0].times:
            break
    assert n > 3


def test_a_deletion_at_any_point_of_a_creation_leaves_nothing(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer("cluster", "after the save", monkeypatch)
    fake_cloud.looks, fake_cloud.going, fake_cloud.disks = 0, 0, False
    for n in range(50):
        cluster = new_cluster(workspace, name=f"c{n}", instances=1)
        killer.arm(n)
        with contextlib.suppress(Killed):
            workers.work()
        workers.sent.clear()
        killer.left = -1
        delete(cluster)
        workers.work()
        cluster.refresh_from_db()
        assert (cluster.status, fake_cloud.things) == ("TERMINATED", {})
        if not killer.struck:
            break
    assert n > 3


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_are_tried_again_with_growing_pauses_and_then_given_up(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.fault(throttled, "create", times=1000)
    cluster = new_cluster(workspace)
    start = workers.clock.at
    tried: list[float] = []
    while cluster.status != "FAILED":
        workers.clock.at = max(workers.clock.at, workers.next_due() or workers.clock.at)
        before = fake_cloud.count("create")
        workers.run(cluster)
        if fake_cloud.count("create") > before:
            tried.append((workers.clock.at - start).total_seconds())
        cluster.refresh_from_db()
    assert tried == [0, 2, 6, 14, 30, 62]
    assert (cluster.failure_code, cluster.failure_message) == ("Throttled", "Too many requests.")


def test_permanent_errors_are_not_tried_again(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.fault(denied, "create", times=1000)
    cluster = new_cluster(workspace)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert (cluster.status, cluster.failure_code, fake_cloud.count("create")) == ("FAILED", "AccessDenied", 1)
    assert cluster.failure_hint == "Ask the account's owner."


def test_a_new_wish_has_all_its_tries(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(workspace, attempts=engine.MAX_ATTEMPTS - 1, due_at=workers.clock.at)
    clusters.act(actor=actor(), cluster=cluster, action=ACTIONS["pause"])
    monkeypatch.setattr(engine._machines["cluster"], "advance", lambda row: Step(row.handle, Failed(throttled())))
    workers.run(cluster)
    cluster.refresh_from_db()
    assert (cluster.status, cluster.attempts) == ("RUNNING", 1)


def test_our_own_mistakes_are_tried_again_and_do_not_show_their_text(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(workspace)

    def broken(row: Cluster) -> Step:
        raise ZeroDivisionError("password=hunter2")

    monkeypatch.setattr(engine._machines["cluster"], "advance", broken)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert cluster.attempts == 1
    assert "hunter2" not in cluster.progress_message


def test_an_answer_that_cannot_be_taken_over_is_tried_again_with_pauses(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in ``apply`` must not be repeated every lease for ever, and must not lose the handle."""
    cluster = new_cluster(workspace)
    machine = engine._machines["cluster"]
    apply = machine.apply

    def broken(row: Cluster, step: Step) -> None:
        raise RuntimeError("A cluster does not go from here to there.")

    monkeypatch.setattr(machine, "apply", broken)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert (cluster.attempts, cluster.lease_token) == (1, None)
    monkeypatch.setattr(machine, "apply", apply)
    workers.work()
    cluster.refresh_from_db()
    assert (cluster.status, fake_cloud.duplicates) == ("RUNNING", [])


def test_a_pause_between_steps_is_kept(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.looks = 3
    cluster = new_cluster(workspace)
    workers.run(cluster)
    cluster.refresh_from_db()
    assert cluster.due_at == workers.clock.at + timedelta(seconds=1)
    assert cluster.lease_token is None


def test_progress_of_one_step_is_one_line(workspace: Workspace) -> None:
    from portal.clouds.base import Event
    from portal.models import record_events

    cluster = make_cluster(workspace)
    record_events(cluster, [Event("install", f"{n} %", progress=n / 100) for n in range(100)])
    record_events(cluster, [Event("install", "done"), Event("node-0", "Making node")])
    assert [event.message for event in DeploymentEvent.objects.of(cluster.pk)] == ["Making node", "done", "99 %"]
    assert cluster.progress_message == "Making node"


def test_a_nudge_while_a_worker_looks_is_not_lost(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(workspace)
    looked: list[int] = []

    def nudged(row: Cluster) -> Step:
        looked.append(1)
        if len(looked) == 1:
            workers.clock.move(seconds=1)
            Cluster.objects.filter(pk=row.pk).update(due_at=workers.clock.at)
        return Step(row.handle, Pending(50))

    monkeypatch.setattr(engine._machines["cluster"], "advance", nudged)
    workers.run(cluster)
    assert len(looked) == 2


# --- workspaces -----------------------------------------------------------------------------------------------------


def test_a_workspace_is_made_and_removed(fake_cloud: FakeCloud, workers: Workers) -> None:
    workspace = new_workspace()
    workers.work()
    workspace.refresh_from_db()
    assert (workspace.status, len(fake_cloud.things)) == (WorkspaceStatus.READY, 2)
    delete(workspace)
    workers.work()
    workspace.refresh_from_db()
    assert (workspace.status, fake_cloud.things) == (WorkspaceStatus.TERMINATED, {})


def test_a_workspace_that_cannot_be_made_says_why_and_can_be_removed(fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.fault(denied, "create", skip=1, times=1000)
    workspace = new_workspace()
    workers.work()
    workspace.refresh_from_db()
    assert (workspace.status, workspace.failure_code) == (WorkspaceStatus.FAILED, "AccessDenied")
    delete(workspace)
    workers.work()
    workspace.refresh_from_db()
    assert (workspace.status, fake_cloud.things) == (WorkspaceStatus.TERMINATED, {})


@pytest.mark.parametrize("error", [denied, throttled])
def test_a_workspace_whose_removal_fails_is_not_gone_and_is_tried_again(
    error: Callable[[], CloudError], fake_cloud: FakeCloud, workers: Workers
) -> None:
    workspace = new_workspace()
    workers.work()
    fake_cloud.fault(error, "delete", times=1000)
    delete(workspace)
    workers.work(seconds=200)
    workspace.refresh_from_db()
    assert workspace.status == WorkspaceStatus.TERMINATING
    assert workspace.failure_code == error().code
    assert fake_cloud.things
    fake_cloud.heal()
    workers.work()
    workspace.refresh_from_db()
    assert (workspace.status, workspace.failure_code, fake_cloud.things) == (WorkspaceStatus.TERMINATED, "", {})


def test_a_workspace_that_fails_at_the_first_call_of_its_removal(
    fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = new_workspace()
    workers.work()
    delete(workspace)

    def refused(row: Workspace) -> Step:
        raise denied()

    with monkeypatch.context() as patch:
        patch.setattr(engine._machines["workspace"], "advance", refused)
        workers.run(workspace)
    workspace.refresh_from_db()
    assert (workspace.status, workspace.failure_code) == (WorkspaceStatus.TERMINATING, "AccessDenied")
    workers.work()
    workspace.refresh_from_db()
    assert workspace.status == WorkspaceStatus.TERMINATED


def test_pending_at_once_is_asked_again_in_the_same_run(
    workspace: Workspace, workers: Workers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Pending(0), Pending(0), Pending(3)]
    cluster = make_cluster(workspace, status="NEW", due_at=clock.at)
    monkeypatch.setattr(engine._machines["cluster"], "advance", lambda row: Step(row.handle, answers.pop(0)))
    workers.run(cluster)
    cluster.refresh_from_db()
    assert answers == []
    assert cluster.due_at == clock.at + timedelta(seconds=3)
