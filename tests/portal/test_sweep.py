"""The sweep, which forgets nothing, and workers and sweeps at the same moment."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection

from clusters.models import Cluster, Transition
from portal import reconcile as engine
from portal.clouds.base import Step
from tests.factories import make_cluster, make_organization, make_workspace
from tests.fakes import FakeCloud, Workers
from tests.portal.test_engine import new_cluster
from workspaces.models import Workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


def test_the_sweep_finds_what_an_emptied_queue_lost(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    rows = [workers.do(lambda n=n: new_cluster(workspace, name=f"c{n}")) for n in range(3)]  # type: ignore[misc]
    workers.sent.clear()
    workers.work()
    assert {Cluster.objects.get(pk=row.pk).status for row in rows} == {"RUNNING"}


def test_the_sweep_does_not_send_twice_until_the_nudge_is_overdue(
    workspace: Workspace, fake_cloud: FakeCloud, workers: Workers
) -> None:
    new_cluster(workspace)
    assert [engine.sweep(), engine.sweep()] == [1, 0]
    workers.clock.move(seconds=engine.NUDGE_AGAIN.total_seconds())
    assert engine.sweep() == 1


def test_the_sweep_leaves_leased_and_settled_and_future_rows(workspace: Workspace, workers: Workers) -> None:
    now = workers.clock.at
    make_cluster(workspace)
    make_cluster(workspace, due_at=now + timedelta(seconds=1))
    make_cluster(workspace, due_at=now, lease_until=now + timedelta(seconds=1), lease_token=uuid.uuid4())
    assert engine.sweep() == 0
    workers.clock.move(seconds=2)
    assert engine.sweep() == 2


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_the_same_moment_send_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace(make_organization())
    for _ in range(20):
        make_cluster(workspace, due_at=workspace.created_at)
    sent: list[object] = []
    monkeypatch.setattr("portal.queue.send", lambda name, pk: sent.append(pk))
    barrier = threading.Barrier(2)

    def sweep() -> None:
        barrier.wait()
        try:
            engine.sweep()
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == len(set(sent)) == 20


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_the_same_moment_advance_once(fake_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = new_cluster(make_workspace(make_organization()))
    inside, most = 0, 0
    both = threading.Barrier(2)
    machine = engine._machines["cluster"]
    advance = machine.advance

    def counted(row: Cluster) -> Step:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return advance(row)
        finally:
            inside -= 1

    monkeypatch.setattr(machine, "advance", counted)

    def work() -> None:
        both.wait()
        try:
            engine.run("cluster", str(cluster.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, fake_cloud.duplicates) == (1, [])
    assert Transition.objects.filter(cluster=cluster, status="INPROGRESS").count() == 1
