"""The machine dies at each stage of a run: its agent, the supervisor of the run, both at once, or the program."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from clusters.models import Cluster
from jobs import reconcile
from jobs.models import Run, RunReason
from jobs.spec import NewCluster, Retry
from portal.clouds.local import kernel
from tests.clouds.local_world import processes_of, wait_for
from tests.kills.dying import killed_at
from tests.kills.ground import Ground, check_end

STAGES = ("queued", "claimed", "started, not recorded", "running", "cancelling", "ended, not read", "between attempts")
LOST = ("FAILED", RunReason.NODE_LOST)
GONE = ("FAILED", RunReason.CLUSTER_NOT_AVAILABLE)
SIGNALLED = ("FAILED", RunReason.SIGNALLED)
DONE = ("SUCCEEDED", "")


def bring(ground: Ground, cluster: Cluster, stage: str) -> Run:
    """A run to a stage; where that lies within a worker's work, the worker is killed there."""
    ends = stage == "ended, not read"
    again = {"retry": Retry(count=1, delay_minutes=0)} if stage == "between attempts" else {}
    run = ground.submit(cluster, *(["fail once"] if again else [] if ends else ["wait"]), **again)
    if stage == "queued":
        return run
    if stage == "claimed":
        assert killed_at("socket.connect", lambda: ground.work(run))
        return run
    if stage == "started, not recorded":
        assert killed_at("the answer to what was sent", lambda: ground.work(run))
        wait_for(lambda: ground.executions(run.process_id))
        return run
    ground.work(run)
    if stage == "between attempts":
        wait_for(lambda: ground.exit_of(run))
        reconcile.poll_runs()
        ground.work(run)
        assert killed_at("socket.connect", lambda: ground.work(run)), "where the next attempt would be started"
        run.refresh_from_db()
        assert (run.status, run.attempt) == ("PENDING", 2)
        return run
    wait_for(lambda: ground.executions(run.process_id))
    if stage == "cancelling":
        ground.cancel(run)
    if ends:
        wait_for(lambda: ground.exit_of(run))
    return run


def agent_of(ground: Ground, cluster: Cluster) -> int:
    cluster.refresh_from_db()
    agent = ground.cloud.root / cluster.handle["steps"]["node-0"]["id"] / "agent.json"
    return int(json.loads(agent.read_text())["pid"])


def kill(ground: Ground, cluster: Cluster, victims: str) -> None:
    """Stopped first, so that they die in the same instant."""
    agent = agent_of(ground, cluster)
    jobs = ground.jobs()
    supervisors = [pid for pid in processes_of(ground.cloud.root) if pid not in [agent, *jobs]]
    doomed = {"agent": [agent], "supervisor": supervisors, "both": [agent, *supervisors], "program": jobs}[victims]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in doomed:
            os.kill(pid, number)
    wait_for(lambda: not any(kernel.start_time(pid) for pid in doomed))


@pytest.mark.parametrize(
    ("stage", "victims", "expected", "executions"),
    [
        ("queued", "agent", GONE, 0),
        ("claimed", "agent", GONE, 0),
        *((stage, victims, LOST, 1) for stage in STAGES[2:5] for victims in ("agent", "supervisor", "both")),
        *((stage, "program", SIGNALLED, 1) for stage in STAGES[2:4]),
        ("ended, not read", "agent", DONE, 1),
        ("between attempts", "agent", GONE, 1),
    ],
)
def test_a_machine_that_dies(
    ground: Ground, stage: str, victims: str, expected: tuple[str, str], executions: int
) -> None:
    cluster = ground.new_cluster()
    run = bring(ground, cluster, stage)
    kill(ground, cluster, victims)
    ground.end(run)
    assert (run.status, run.reason) == expected
    if stage != "between attempts":
        check_end(ground, run, expected[0], executions=executions)
    assert [ground.executions(each) for each in (run.pk, f"{run.pk}-2")] == [executions, 0]
    if victims in {"agent", "both"}:
        ground.go_on(lambda: ground.status_of(cluster) == "FAILED" and cluster.due_at is None)
        assert cluster.failure_code == "NodeLost"
        assert processes_of(ground.cloud.root) == []
    else:
        check_end(ground, ground.end(ground.submit(cluster)), "SUCCEEDED")
        assert ground.status_of(cluster) == "RUNNING"


def test_a_machine_of_the_runs_own_cluster_is_replaced_for_the_next_attempt(ground: Ground) -> None:
    place = NewCluster(instance_type="local.1x", instances=1, release="2026.10")
    run = ground.submit(place, "wait once", retry=Retry(count=1, delay_minutes=0))
    ground.go_on(lambda: ground.executions(run.pk) == 1)
    cluster = Cluster.objects.get(pk=run.cluster_id)
    kill(ground, cluster, "agent")
    check_end(ground, ground.end(run), "SUCCEEDED", attempts=2)
    ground.go_on(lambda: ground.status_of(cluster) == "TERMINATED")
    assert processes_of(ground.cloud.root) == []
    assert not list(Path(ground.cloud.root).glob("workspaces/*/clusters/*/node-*"))
