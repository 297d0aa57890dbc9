"""A process that a dead worker started and did not record: it is taken over as it is, whatever has changed since."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pytest_django import Settings

from billing.models import Rate
from clusters import reconcile as cluster_reconcile
from clusters.models import Cluster
from jobs.environment import secret_values
from jobs.models import Run, RunAttempt
from jobs.spec import Retry
from portal import crypto
from tests.fakes import FakeCloud, Killed, Workers, denied, unreachable
from tests.jobs.flow import act, now_is, started, submit


@pytest.fixture
def unrecorded(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> Run:
    """It runs, and nobody has said so."""
    fake_cloud.shared.saved["job.py"] = b"print(1)\n"
    run = submit(cluster, environment={"TOKEN": "t0ken-given"})
    fake_cloud.fault(Killed, "start", after=True)
    with pytest.raises(Killed):
        workers.run(run)
    workers.clock.move(seconds=60)
    return run


def test_its_record_says_what_it_was_given_and_not_what_it_would_be_given_now(
    unrecorded: Run, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.shared.saved["job.py"] = b"print(2)\n"
    Run.objects.filter(pk=unrecorded.pk).update(environment=crypto.seal({"TOKEN": "another"}))
    workers.work(seconds=1)
    assert now_is(unrecorded) == ("RUNNING", "")
    assert (unrecorded.workers, unrecorded.instances, unrecorded.instance_type) == (2, 1, "local.2x")
    attempt = RunAttempt.objects.get(run=unrecorded)
    assert attempt.digest == hashlib.sha256(b"print(1)\n").hexdigest()
    assert "t0ken-given" in secret_values(attempt)
    assert dict(fake_cloud.starts) == {str(unrecorded.pk): 1}


@pytest.mark.parametrize("end", [0, 3])
def test_its_end_counts_although_its_cluster_has_failed(
    end: int, unrecorded: Run, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.finish(unrecorded.pk, end)
    fake_cloud.vanish(cluster.pk, 0)
    workers.do(cluster_reconcile.observe)
    assert now_is(cluster) == ("FAILED", "NodeLost")
    workers.work(seconds=60)
    assert now_is(unrecorded)[0] == ("FAILED" if end else "SUCCEEDED")
    assert unrecorded.exit_code == end


@pytest.mark.parametrize("error", [unreachable, denied])
def test_while_nobody_can_say_whether_it_runs_it_keeps_its_cluster(
    error: Any, unrecorded: Run, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    following = submit(cluster)
    fake_cloud.fault(error, "find-process", times=10000)
    workers.work(seconds=600)
    assert [now_is(run)[0] for run in (unrecorded, following)] == ["PENDING", "PENDING"]
    fake_cloud.heal()
    workers.work(seconds=60)
    assert [now_is(run)[0] for run in (unrecorded, following)] == ["RUNNING", "PENDING"]
    assert dict(fake_cloud.starts) == {str(unrecorded.pk): 1}


def test_a_paused_cluster_without_a_price_is_not_waited_for(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, settings: Settings
) -> None:
    act(cluster, "pause")
    workers.work(seconds=60)
    run = submit(cluster)
    Rate.objects.all().delete()
    settings.PORTAL_DEFAULT_HOURLY = None
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "The cluster is not available")
    assert "There is no price for local.2x" in run.failure_message


def test_one_that_was_claimed_and_never_started_lets_an_older_one_go_first(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    """Which waited to try again meanwhile. Otherwise each would wait for the other."""
    older = started(cluster, workers, retry=Retry(count=1, delay_minutes=10))
    younger = submit(cluster)
    fake_cloud.finish(older.pk, code=3)
    fake_cloud.fault(Killed, "start")
    with pytest.raises(Killed):
        workers.work(seconds=5)
    workers.sent.clear()
    workers.clock.move(minutes=11)
    workers.work(seconds=60)
    assert [now_is(run)[0] for run in (older, younger)] == ["RUNNING", "PENDING"]
    fake_cloud.finish(f"{older.pk}-2")
    workers.work(seconds=60)
    assert [now_is(run)[0] for run in (older, younger)] == ["SUCCEEDED", "RUNNING"]
    assert set(fake_cloud.starts.values()) == {1}
