"""A run is cancelled at every point of its life, after the worker that had it was killed there; and the worker that
cancels is killed at every point of that."""

from __future__ import annotations

from clusters.models import Cluster
from jobs import reconcile
from jobs.models import Run
from jobs.spec import NewCluster
from tests.clouds.local_world import processes_of, wait_for
from tests.kills.dying import every_death, killed_at
from tests.kills.ground import Ground, check_end
from tests.kills.test_worker import worked


def test_a_run_that_was_being_started(ground: Ground) -> None:
    """Its program is executed where it was executed before, and never in order to be ended."""
    cluster = ground.new_cluster()
    found = set()

    def one(n: int) -> str:
        run = ground.submit(cluster, "wait")
        effect = killed_at(n, lambda: ground.work(run))
        ground.time_passes()
        began = ground.cloud.find(ground.handle_of(run), run.process_id) is not None
        found.add(began)
        if began:
            wait_for(lambda: ground.executions(run.process_id))
        ground.cancel(run)
        check_end(ground, ground.end(run), "CANCELLED", executions=int(began))
        return effect

    list(every_death(one))
    assert found == {False, True}


def test_a_run_that_is_being_cancelled(ground: Ground) -> None:
    cluster = ground.new_cluster()

    def cancelled(run: Run) -> None:
        ground.work(run)
        wait_for(lambda: ground.exit_of(run))
        reconcile.poll_runs()
        ground.work(run)

    def one(n: int) -> str:
        run = ground.submit(cluster, "wait")
        ground.work(run)
        wait_for(lambda: ground.executions(run.process_id))
        ground.cancel(run)
        effect = killed_at(n, lambda: cancelled(run))
        check_end(ground, ground.end(run), "CANCELLED")
        return effect

    deaths = list(every_death(one))
    assert "socket.connect" in deaths, "the request to stop"


def test_a_run_with_a_cluster_of_its_own_that_is_being_made(ground: Ground) -> None:
    wanted = NewCluster(instance_type="local.1x", instances=1, release="2026.10")

    def made(run: Run) -> None:
        cluster = Cluster.objects.get(pk=run.cluster_id)
        wait_for(lambda: worked(ground, cluster))

    def one(n: int) -> str:
        run = ground.submit(wanted, "wait")
        effect = killed_at(n, lambda: made(run), files=False)
        ground.cancel(run)
        check_end(ground, ground.end(run), "CANCELLED", executions=0)
        cluster = Cluster.objects.get(pk=run.cluster_id)
        ground.go_on(lambda: ground.status_of(cluster) == "TERMINATED")
        assert processes_of(ground.cloud.root) == []
        assert ground.cloud.capacity.held(str(cluster.pk)) == {}
        return effect

    assert "subprocess.Popen" in list(every_death(one))
