"""Attempts that follow a failed one: which failures, how many, when, and what a person sees of them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.test import Client

from accounts.permissions import OrganizationRole
from clusters import reconcile as cluster_reconcile
from clusters.models import Cluster
from jobs import reconcile
from jobs.models import Run, RunAttempt
from jobs.spec import Retry, Source, SourceType
from portal import reconcile as engine
from portal.clouds.base import CloudError, ExitReason, LogStream
from tests.factories import add_to_organization, make_user
from tests.fakes import FakeCloud, Killed, Workers
from tests.jobs.flow import act, cancel, now_is, started, submit, survive


def attempts(run: Run) -> list[tuple[int, str, str, int | None]]:
    rows = RunAttempt.objects.filter(run=run).order_by("number")
    return [(row.number, row.status, row.reason, row.exit_code) for row in rows]


def test_a_failed_attempt_is_followed_by_others_after_the_delay(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=2, delay_minutes=10))
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=60)
    assert now_is(run) == ("PENDING", "Waiting to try again")
    assert (run.queue_position, run.ended_at, run.handle) == (None, None, {})
    cluster.refresh_from_db()
    assert cluster.busy_with is None  # others may have it meanwhile
    workers.work(seconds=600)
    assert now_is(run) == ("RUNNING", "")
    fake_cloud.finish(f"{run.pk}-2", code=4)
    workers.work(seconds=700)
    fake_cloud.finish(f"{run.pk}-3", code=0)
    workers.work(seconds=60)
    assert now_is(run) == ("SUCCEEDED", "")
    assert attempts(run) == [
        (1, "FAILED", "NonZeroExitCode", 3),
        (2, "FAILED", "NonZeroExitCode", 4),
        (3, "SUCCEEDED", "", 0),
    ]
    assert run.exit_code == 0
    assert set(fake_cloud.starts.values()) == {1}


def test_a_log_without_a_number_goes_on_with_the_next_attempt(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    alice = make_user("alice")
    add_to_organization(cluster.workspace.organization, alice, OrganizationRole.OWNER)
    client = Client()
    client.force_login(alice, "allauth.account.auth_backends.AuthenticationBackend")
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=1))

    def seen(query: str = "") -> tuple[str, str, str]:
        answer = client.get(f"{run.get_absolute_url()}log/{query}")
        return answer.content.decode(), answer["X-Log-Attempt"], answer["X-Log-Complete"]

    fake_cloud.processes[str(run.pk)].logs[LogStream.STDOUT] = b"first"
    assert seen() == ("first", "1", "false")
    fake_cloud.finish(run.pk, code=1)
    workers.work(seconds=10)
    assert (seen(), seen("?attempt=1")) == (("first", "1", "false"), ("first", "1", "true"))
    workers.work(seconds=60)
    fake_cloud.processes[f"{run.pk}-2"].logs[LogStream.STDOUT] = b"second"
    fake_cloud.finish(f"{run.pk}-2", code=0)
    workers.work(seconds=10)
    assert (seen(), seen("?attempt=1")) == (("second", "2", "true"), ("first", "1", "true"))


def test_the_last_attempt_says_how_the_run_ends(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=0))
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=5)
    assert now_is(run) == ("RUNNING", "")
    begun = run.started_at
    fake_cloud.finish(f"{run.pk}-2", None, ExitReason.OUT_OF_MEMORY, started=workers.clock.move(seconds=7))
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "Out of memory")
    assert run.started_at == begun, "that of its first attempt"
    assert [row[1:3] for row in attempts(run)] == [("FAILED", "NonZeroExitCode"), ("FAILED", "OutOfMemory")]


@pytest.mark.parametrize(("on_timeout", "status"), [(False, "TIMEOUT"), (True, "PENDING")])
def test_a_timeout_is_tried_again_only_where_that_was_asked_for(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, on_timeout: bool, status: str
) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=5, on_timeout=on_timeout))
    fake_cloud.finish(run.pk, None, ExitReason.TIMEOUT)
    workers.work(seconds=30)
    assert now_is(run)[0] == status


def test_what_people_end_is_not_tried_again(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = started(cluster, workers, retry=Retry(count=5, delay_minutes=0))
    cancel(run)
    workers.work(seconds=60)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    paused = started(cluster, workers, retry=Retry(count=5, delay_minutes=0))
    act(cluster, "pause")
    workers.work(seconds=60)
    assert now_is(paused) == ("CANCELLED", "The cluster was paused")


def test_what_fails_while_it_is_being_cancelled_is_not_tried_again(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=5, delay_minutes=0))
    cancel(run)
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "NonZeroExitCode")
    assert (run.attempt, run.due_at) == (1, None)


def test_one_that_waits_for_its_next_attempt_can_be_cancelled(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=60))
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=5)
    cancel(run)
    workers.work(seconds=5)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    assert fake_cloud.running() == []


def test_others_go_first_during_the_delay_and_then_it_has_its_old_place(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=10))
    second, third = submit(cluster), submit(cluster)
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=10)
    assert [now_is(each)[0] for each in (run, second, third)] == ["PENDING", "RUNNING", "PENDING"]
    workers.work(seconds=900)
    fake_cloud.finish(second.pk)
    workers.work(seconds=10)
    assert [now_is(each)[0] for each in (run, second, third)] == ["RUNNING", "SUCCEEDED", "PENDING"]


@pytest.mark.parametrize("step", ["poll", "start"])
def test_a_worker_that_dies_between_two_attempts_doubles_nothing(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, step: str
) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=0))
    fake_cloud.finish(run.pk, code=3)
    fake_cloud.fault(Killed, step, after=True, times=2)
    survive(workers, 120)
    assert now_is(run) == ("RUNNING", "")
    assert run.attempt == 2
    assert dict(fake_cloud.starts) == {str(run.pk): 1, f"{run.pk}-2": 1}
    assert [row[0] for row in attempts(run)] == [1, 2]


def test_a_lost_machine_of_a_shared_cluster_ends_the_run(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=5, delay_minutes=0))
    workers.periodic.append(cluster_reconcile.observe)
    fake_cloud.vanish(cluster.pk, 0)
    workers.work(seconds=120)
    assert now_is(run) == ("FAILED", "A node of the cluster was lost")


def test_attempts_keep_what_they_had(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    fake_cloud.shared.saved["job.py"] = b"print(1)\n"
    run = started(cluster, workers)
    fake_cloud.finish(run.pk, None, ExitReason.SIGNALLED, signal=11)
    workers.work(seconds=10)
    row: Any = RunAttempt.objects.get(run=run)
    run.refresh_from_db()
    assert (row.workers, run.instances, run.instance_type) == (2, 1, "local.2x")
    assert row.digest == hashlib.sha256(b"print(1)\n").hexdigest()
    assert row.handle["process"] == str(run.pk)


def test_a_source_that_can_never_be_had_ends_the_run(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try takes a while, in which the tries before it are not forgotten."""
    looks: list[int] = []

    def fetch(*_: Any, **__: Any) -> None:
        looks.append(1)
        if len(looks) % 3 == 0:
            raise CloudError("SourceFailed", "The server is away.")

    monkeypatch.setattr("jobs.sources.fetch", fetch)
    run = submit(cluster, source=Source(SourceType.URL, "https://example.org/job.py"))
    workers.work(seconds=600)
    assert now_is(run) == ("FAILED", "The source could not be fetched")
    assert run.failure_message == "The server is away."
    assert len(looks) == 3 * engine.MAX_ATTEMPTS


def test_what_happened_to_the_cluster_before_an_attempt_is_not_why_it_was_lost(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=1))
    fake_cloud.finish(run.pk, code=3)
    workers.work(seconds=1)
    act(cluster, "pause")
    workers.work(seconds=120)
    assert now_is(run) == ("RUNNING", "")
    workers.clock.move(seconds=5)
    fake_cloud.vanish(cluster.pk, 0)
    workers.do(cluster_reconcile.observe)
    act(cluster, "delete")  # which is not why either
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "A node of the cluster was lost")


def test_an_exit_that_is_seen_late_is_not_taken_for_that_of_the_next_attempt(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow scheduler asks before the next attempt starts, and has its answer after that."""
    run = started(cluster, workers, retry=Retry(count=1, delay_minutes=0))
    fake_cloud.finish(run.pk, code=3)
    with monkeypatch.context() as patch:

        def slow(refs: Any) -> Any:
            found = FakeCloud.poll(fake_cloud, refs)
            patch.undo()
            workers.work(seconds=5)
            return found

        patch.setattr(fake_cloud, "poll", slow)
        assert reconcile.poll_runs() == 0
    assert now_is(run) == ("RUNNING", "")
    assert run.handle["process"] == f"{run.pk}-2"
    assert "exit" not in run.handle
