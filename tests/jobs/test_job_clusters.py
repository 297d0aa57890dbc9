"""Clusters made for one run, and clusters that rest after one: gone or paused however the run ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clusters import reconcile as cluster_reconcile
from clusters.lifetimes import end_lifetimes
from clusters.models import Cluster
from jobs import services
from jobs.models import Run
from jobs.spec import JobSpec, NewCluster, Retry
from portal.clouds.base import ExitReason
from portal.errors import UserError
from tests.factories import actor
from tests.fakes import FakeCloud, Killed, Workers, denied
from tests.jobs.flow import cancel, now_is, started, submit, survive

WANTED = NewCluster(instance_type="local.2x", instances=2, release="2026.10")


def submit_alone(cluster: Cluster, place: NewCluster = WANTED, **fields: Any) -> Run:
    spec = JobSpec(**{"file": "job.py", **fields})
    return services.submit_run(actor=actor(), workspace=cluster.workspace, name="alone", spec=spec, place=place)


def gone(run: Run, fake_cloud: FakeCloud) -> bool:
    made = Cluster.objects.get(pk=run.cluster_id)
    return made.status == "TERMINATED" and not any(key.startswith(str(made.pk)) for key in fake_cloud.things)


def test_a_cluster_is_made_for_the_run_and_removed_after_it(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit_alone(cluster)
    assert now_is(run)[0] == "PENDING"
    workers.work(seconds=60)
    assert now_is(run) == ("RUNNING", "")
    assert (run.cluster.dedicated_to, run.workers) == (run.pk, 4)
    fake_cloud.finish(run.pk)
    workers.work(seconds=60)
    assert now_is(run) == ("SUCCEEDED", "")
    assert gone(run, fake_cloud)


@pytest.mark.parametrize("how", ["fails", "is cancelled", "is cancelled before it starts", "cannot start"])
def test_it_is_removed_also_when_the_run(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, how: str) -> None:
    run = submit_alone(cluster)
    if how == "is cancelled before it starts":
        cancel(run)
    elif how == "cannot start":
        fake_cloud.fault(denied, "start", times=100)
    workers.work(seconds=60)
    if how == "fails":
        fake_cloud.finish(run.pk, code=1)
    elif how == "is cancelled":
        cancel(run)
    workers.work(seconds=120)
    assert now_is(run)[0] == ("CANCELLED" if "cancelled" in how else "FAILED")
    assert gone(run, fake_cloud)


def test_its_maximum_lifetime_ends_the_run_and_removes_it(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit_alone(cluster, replace(WANTED, max_lifetime_minutes=30))
    workers.work(seconds=60)
    workers.clock.move(minutes=30)
    assert workers.do(end_lifetimes) == 1
    workers.work(seconds=120)
    assert now_is(run) == ("CANCELLED", "The cluster was stopped")
    assert gone(run, fake_cloud)


def test_it_is_removed_also_when_it_cannot_be_made(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.capacity = len([key for key in fake_cloud.things if "/node-" in key])
    run = submit_alone(cluster)
    workers.work(seconds=600)
    assert now_is(run) == ("FAILED", "The cluster is not available")
    assert run.failure_message
    assert gone(run, fake_cloud)


@pytest.mark.parametrize("step", ["create", "start", "poll", "stop", "delete"])
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_anywhere_leaves_nothing(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, step: str, after: bool
) -> None:
    run = submit_alone(cluster)
    fake_cloud.fault(Killed, step, after=after, times=2)
    survive(workers, 120)
    if str(run.pk) in fake_cloud.processes:
        fake_cloud.finish(run.pk)
    survive(workers, 300)
    assert now_is(run) == ("SUCCEEDED", "")
    assert gone(run, fake_cloud)
    assert fake_cloud.starts[str(run.pk)] == 1


def test_no_other_run_can_be_put_on_it(cluster: Cluster, workers: Workers) -> None:
    run = submit_alone(cluster)
    workers.work(seconds=60)
    with pytest.raises(UserError, match="ClusterNotAvailable"):
        submit(Run.objects.get(pk=run.pk).cluster)


def test_a_lost_machine_is_replaced_for_the_next_attempt(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    workers.periodic.append(cluster_reconcile.observe)
    run = submit_alone(cluster, retry=Retry(count=1, delay_minutes=0))
    workers.work(seconds=60)
    fake_cloud.vanish(run.cluster_id, 1)
    workers.work(seconds=120)
    assert now_is(run) == ("RUNNING", "")
    assert run.attempt == 2
    fake_cloud.vanish(run.cluster_id, 1)
    workers.work(seconds=120)
    assert now_is(run) == ("FAILED", "A node of the cluster was lost")
    assert gone(run, fake_cloud)


def test_a_lost_machine_that_cannot_be_replaced_ends_the_run(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    """New machines are asked for once for each attempt, and not for ever."""
    workers.periodic.append(cluster_reconcile.observe)
    run = submit_alone(cluster, retry=Retry(count=5, delay_minutes=0))
    workers.work(seconds=60)
    fake_cloud.capacity = 0
    fake_cloud.vanish(run.cluster_id, 1)
    workers.work(seconds=1800)
    assert now_is(run) == ("FAILED", "The cluster is not available")
    assert gone(run, fake_cloud)


# --- pause on finish ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [ExitReason.EXITED, ExitReason.OUT_OF_MEMORY])
def test_the_cluster_is_paused_when_the_run_ends(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, reason: ExitReason
) -> None:
    run = started(cluster, workers, pause_on_finish=True)
    fake_cloud.finish(run.pk, reason=reason)
    workers.work(seconds=60)
    cluster.refresh_from_db()
    assert (cluster.status, cluster.target) == ("PAUSED", "PAUSED")


def test_it_is_not_paused_while_others_wait(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run, other = started(cluster, workers, pause_on_finish=True), submit(cluster)
    fake_cloud.finish(run.pk)
    workers.work(seconds=60)
    assert now_is(other) == ("RUNNING", "")


def test_a_run_that_never_started_pauses_nothing(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    first, second = started(cluster, workers), submit(cluster, pause_on_finish=True)
    cancel(second)
    workers.work(seconds=5)
    fake_cloud.finish(first.pk)
    workers.work(seconds=60)
    cluster.refresh_from_db()
    assert cluster.status == "RUNNING"


def test_a_name_of_a_cluster_made_by_hand_is_in_nobodys_way(cluster: Cluster) -> None:
    runs = [submit_alone(cluster) for _ in range(3)]
    assert len({Run.objects.get(pk=run.pk).cluster.name for run in runs}) == 3
