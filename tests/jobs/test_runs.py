"""Runs from the queue to their end: order, cancelling, dying workers, exits, and clusters that change below them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import AuditEvent
from clusters import reconcile as cluster_reconcile
from clusters import services as clusters
from clusters import services_idle
from clusters.models import Cluster
from jobs import reconcile, services
from jobs.models import MAX_QUEUED, TRANSITIONS, Run, RunReason, RunStatus
from jobs.spec import JobSpec
from portal import crypto
from portal import reconcile as engine
from portal.clouds.base import ExitReason, Step
from portal.errors import UserError
from tests.factories import actor, make_cluster, make_configuration, make_organization, make_run, make_workspace
from tests.fakes import FakeCloud, Killed, Workers, denied, throttled, unreachable
from tests.jobs.flow import act, cancel, now_is, started, submit

S = RunStatus


# --- the way of a run -----------------------------------------------------------------------------------------------


def test_a_run_starts_and_ends(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = submit(cluster, environment={"A": "1"})
    assert now_is(run) == ("PENDING", "Recently submitted")
    workers.work(seconds=1)
    assert now_is(run) == ("RUNNING", "")
    process = fake_cloud.processes[str(run.pk)].process
    assert (process.workers, process.timeout, process.environment) == (2, 3600.0, {"A": "1"})
    cluster.refresh_from_db()
    assert cluster.busy_with == run.pk
    begun, ended = workers.clock.at, workers.clock.at + timedelta(seconds=42)
    fake_cloud.finish(run.pk, 0, started=begun, ended=ended)
    workers.work(seconds=1)
    assert now_is(run) == ("SUCCEEDED", "")
    assert (run.exit_code, run.duration, run.due_at) == (0, timedelta(seconds=42), None)
    cluster.refresh_from_db()
    assert cluster.busy_with is None
    assert cluster.last_activity_at == workers.clock.at


@pytest.mark.parametrize(
    ("reason", "code", "status", "label"),
    [
        (ExitReason.EXITED, 0, S.SUCCEEDED, ""),
        (ExitReason.EXITED, 3, S.FAILED, "NonZeroExitCode"),
        (ExitReason.SIGNALLED, None, S.FAILED, "Ended by a signal"),
        (ExitReason.TIMEOUT, None, S.TIMEOUT, "Timeout"),
        (ExitReason.CANCELLED, None, S.CANCELLED, "Cancelled by user"),
        (ExitReason.TIMEOUT, 0, S.TIMEOUT, "Timeout"),  # it said goodbye when it was asked to end
        (ExitReason.OUT_OF_MEMORY, 137, S.FAILED, "Out of memory"),
        (ExitReason.RANK_FAILED, 3, S.FAILED, "One of its ranks failed"),
        (ExitReason.DISK_FULL, None, S.FAILED, "The disk was full"),
        (ExitReason.LOST, None, S.FAILED, "A node of the cluster was lost"),
    ],
)
def test_how_a_process_ends_is_how_its_run_ends(
    reason: ExitReason,
    code: int | None,
    status: str,
    label: str,
    cluster: Cluster,
    fake_cloud: FakeCloud,
    workers: Workers,
) -> None:
    run = started(cluster, workers)
    fake_cloud.finish(run.pk, code, reason)
    workers.work(seconds=1)
    assert now_is(run) == (status, label)
    assert run.exit_code == code


def test_the_labels_that_the_product_names() -> None:
    labels = {reason.label for reason in RunReason}
    assert {"Recently submitted", "In queue", "NonZeroExitCode", "Timeout", "Cancelled by user"} <= labels


def test_every_status_can_be_reached_and_ends_are_final() -> None:
    reached = {S.PENDING.value}
    for _ in S:
        reached |= {after for status in reached for after in map(str, TRANSITIONS[status])}
    assert reached == set(S.values)
    assert {status for status in S if not TRANSITIONS[status]} == {S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMEOUT}
    with pytest.raises(RuntimeError, match="does not go from"):
        reconcile.set_status(Run(status=S.SUCCEEDED), S.RUNNING)


# --- the queue ------------------------------------------------------------------------------------------------------


def test_runs_go_one_at_a_time_in_the_order_of_submission(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    runs = [submit(cluster, name=f"r{n}") for n in range(4)]
    for place, run in enumerate(reversed(runs)):
        assert run.queue_position == len(runs) - place
        workers.run(run)  # in the wrong order
    order = []
    for _ in runs:
        workers.work(seconds=1)
        (running,) = fake_cloud.running()
        order.append(running)
        fake_cloud.finish(running)
    workers.work()
    assert order == [str(run.pk) for run in runs]
    assert set(fake_cloud.starts.values()) == {1}


def test_the_next_run_starts_without_waiting_for_its_own_next_look(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    first, second = started(cluster, workers), submit(cluster)
    workers.work(seconds=1)
    assert now_is(second) == ("PENDING", "In queue")
    fake_cloud.finish(first.pk)
    before = workers.clock.at
    workers.work(seconds=0)
    assert now_is(second) == ("RUNNING", "")
    assert workers.clock.at == before


def test_the_database_refuses_two_at_a_time(cluster: Cluster) -> None:
    make_run(cluster, status=S.RUNNING)
    with pytest.raises(IntegrityError, match="run_one_per_cluster"), transaction.atomic():
        make_run(cluster, status=S.CANCELLING)


def test_the_101st_in_the_queue_is_refused(cluster: Cluster) -> None:
    for n in range(MAX_QUEUED):
        make_run(cluster, name=f"r{n}")
    with pytest.raises(UserError, match="QueueFull"):
        submit(cluster)
    make_run(cluster, status=S.SUCCEEDED)
    Run.objects.filter(name="r0").update(status=S.RUNNING)
    submit(cluster)


def test_submitting_is_activity(cluster: Cluster, workers: Workers) -> None:
    clusters.update_cluster(actor=actor(), cluster=cluster, auto_pause_minutes=1)
    workers.clock.move(minutes=5)
    submit(cluster, auto_resume=False)
    assert services_idle.pause_idle() == 0


# --- cancelling -----------------------------------------------------------------------------------------------------


def test_cancelling_what_waits(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    first, second, third = started(cluster, workers), submit(cluster), submit(cluster)
    cancel(second)
    workers.work(seconds=1)
    assert now_is(second) == ("CANCELLED", "Cancelled by user")
    assert str(second.pk) not in fake_cloud.starts
    fake_cloud.finish(first.pk)
    workers.work(seconds=1)
    assert now_is(third) == ("RUNNING", "")


def test_cancelling_what_runs(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run, following = started(cluster, workers), submit(cluster)
    cancel(run)
    cancel(run)
    assert AuditEvent.objects.filter(verb="run.cancel").count() == 1
    workers.run(run)
    assert now_is(run) == ("CANCELLING", "Cancelled by user")
    workers.work(seconds=1)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    assert now_is(following) == ("RUNNING", "")
    with pytest.raises(UserError, match="AlreadyEnded"):
        cancel(run)


def test_what_succeeds_before_it_can_be_cancelled_has_succeeded(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers)
    fake_cloud.finish(run.pk, 0)
    cancel(run)
    workers.work(seconds=1)
    assert now_is(run) == ("SUCCEEDED", "")
    assert fake_cloud.stopped == []


@pytest.mark.parametrize("after", [False, True], ids=["claimed", "started, not recorded"])
def test_cancelling_what_has_the_cluster_leaves_no_process(
    after: bool, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit(cluster)
    fake_cloud.fault(Killed, "start", after=after)
    with pytest.raises(Killed):
        workers.run(run)
    cancel(run)
    workers.clock.move(seconds=60)
    workers.work(seconds=60)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    assert fake_cloud.running() == []
    cluster.refresh_from_db()
    assert cluster.busy_with is None


def test_cancelling_what_has_a_cluster_that_is_paused_meanwhile_does_not_resume_it(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit(cluster)
    fake_cloud.fault(Killed, "start")
    with pytest.raises(Killed):
        workers.run(run)
    act(cluster, "pause")
    cancel(run)
    workers.clock.move(seconds=60)
    workers.work(seconds=60)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    assert now_is(cluster) == ("PAUSED", "")


# --- dying workers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["claimed", "started", "inside the save", "after the save"])
def test_a_worker_that_dies_starts_it_once(
    point: str, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(cluster)
    with monkeypatch.context() as patch:
        if point in {"claimed", "started"}:
            fake_cloud.fault(Killed, "start", after=point == "started")
        else:
            save = engine._save

            def dying_save(*arguments: Any) -> bool:
                if point == "inside the save":
                    raise Killed
                save(*arguments)
                raise Killed

            patch.setattr(engine, "_save", dying_save)
        with pytest.raises(Killed):
            workers.run(run)
    workers.sent.clear()
    workers.work(seconds=60)
    assert now_is(run) == ("RUNNING", "")
    assert fake_cloud.starts == {str(run.pk): 1}
    fake_cloud.finish(run.pk)
    with monkeypatch.context() as patch:
        patch.setattr(engine._machines["run"], "saved", _raise_killed)
        with pytest.raises(Killed):
            workers.run(run)
    workers.work(seconds=60)
    assert now_is(run) == ("SUCCEEDED", "")


def _raise_killed(row: Any) -> None:
    raise Killed


@pytest.mark.parametrize("after", [False, True])
def test_an_answer_lost_while_starting_starts_it_once(
    after: bool, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit(cluster)
    fake_cloud.fault(throttled, "start", after=after)
    workers.work(seconds=60)
    assert now_is(run) == ("RUNNING", "")
    assert fake_cloud.starts == {str(run.pk): 1}


def test_what_cannot_be_started_fails_with_the_reason_and_frees_the_cluster(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run, following = submit(cluster), submit(cluster)
    fake_cloud.fault(denied, "start")
    workers.work(seconds=1)
    assert now_is(run) == ("FAILED", "It could not be started")
    assert (run.failure_code, run.failure_hint) == ("AccessDenied", "Ask the account's owner.")
    assert now_is(following) == ("RUNNING", "")


@pytest.mark.parametrize("error", [unreachable, denied])
def test_a_provider_that_cannot_be_asked_does_not_end_what_runs(
    error: Callable[[], Exception], cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    """The process goes on, so the next run must not start beside it."""
    run, following = started(cluster, workers), submit(cluster)
    fake_cloud.fault(error, "poll", times=10000)
    workers.work(seconds=90)
    assert now_is(run) == ("RUNNING", "")
    assert now_is(following)[0] == "PENDING"
    assert fake_cloud.running() == [str(run.pk)]
    fake_cloud.heal()
    fake_cloud.finish(run.pk)
    workers.work(seconds=60)
    assert now_is(run) == ("SUCCEEDED", "")
    assert now_is(following) == ("RUNNING", "")


def test_an_account_that_does_not_answer_does_not_hold_up_the_exits_of_others(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(cluster, workers)
    broken = FakeCloud()
    broken.fault(unreachable, "poll", times=100)
    for _ in range(2):
        place = make_workspace(make_organization(), make_configuration(make_organization()))
        make_run(make_cluster(place), status=S.RUNNING)
    good = {cluster.workspace.cloud_configuration_id}
    monkeypatch.setattr("workspaces.clouds._local", lambda id, _: fake_cloud if id in good else broken)
    fake_cloud.finish(run.pk)
    assert reconcile.poll_runs() == 1


def test_an_exit_is_found_and_sent_once(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = started(cluster, workers)
    fake_cloud.finish(run.pk)
    workers.sent.clear()
    assert [reconcile.poll_runs(), reconcile.poll_runs()] == [1, 0]
    assert workers.sent == [("run", str(run.pk))]
    workers.sent.clear()  # and the queue loses it
    workers.work(seconds=0)
    assert now_is(run) == ("SUCCEEDED", "")


def test_an_exit_is_not_written_below_a_worker_that_looks(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers)
    Run.objects.filter(pk=run.pk).update(lease_until=workers.clock.at + timedelta(seconds=1))
    fake_cloud.finish(run.pk)
    assert reconcile.poll_runs() == 0


# --- clusters that change -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "label"),
    [
        ("pause", "The cluster was paused"),
        ("stop", "The cluster was stopped"),
        ("delete", "The cluster was deleted"),
        ("restart", "The cluster was restarted"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["seen at once", "seen after the cluster went on"])
def test_a_cluster_taken_from_under_a_run(
    late: bool, action: str, label: str, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers)
    workers.clock.move(seconds=5)
    act(cluster, action)
    if late:
        for _ in range(2):  # nobody looks at the run meanwhile
            while cluster.due_at is not None:
                workers.clock.at = max(workers.clock.at, cluster.due_at)
                workers.run(cluster)
                cluster.refresh_from_db()
            if action in {"pause", "stop"} and cluster.target != "RUNNING":
                act(cluster, "resume")
                cluster.refresh_from_db()
    workers.work(seconds=60)
    assert now_is(run) == ("CANCELLED", label)
    cluster.refresh_from_db()
    assert cluster.busy_with is None


def test_a_node_lost_under_a_run(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run, following = started(cluster, workers), submit(cluster)
    fake_cloud.vanish(cluster.pk, 0)
    workers.do(cluster_reconcile.observe)
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "A node of the cluster was lost")
    assert now_is(following) == ("FAILED", "The cluster is not available")
    assert now_is(cluster) == ("FAILED", "NodeLost")


def test_a_paused_cluster_is_resumed_for_a_run(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    act(cluster, "pause")
    workers.work()
    run = submit(cluster)
    workers.run(run)
    assert now_is(run) == ("PENDING", "Waiting for the cluster")
    workers.work(seconds=60)
    assert now_is(run) == ("RUNNING", "")
    assert "(run r)" in cluster.transitions.filter(kind="REQUEST").order_by("-seq")[0].actor_label


def test_a_run_that_may_not_resume_is_refused_and_fails_when_it_waits(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    first, second, third = started(cluster, workers), submit(cluster, auto_resume=False), submit(cluster)
    act(cluster, "pause")
    with pytest.raises(UserError, match="ClusterNotAvailable"):
        submit(cluster, auto_resume=False)
    workers.work(seconds=60)
    assert now_is(first) == ("CANCELLED", "The cluster was paused")
    assert now_is(second) == ("FAILED", "The cluster is not available")
    assert now_is(third) == ("RUNNING", "")


@pytest.mark.parametrize("action", ["stop", "delete"])
def test_runs_that_wait_for_a_cluster_that_goes_fail(
    action: str, cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    started(cluster, workers)
    waiting = [submit(cluster) for _ in range(5)]
    act(cluster, action)
    workers.work(seconds=60)
    assert {now_is(run) for run in waiting} == {("FAILED", "The cluster is not available")}
    with pytest.raises(UserError, match="ClusterNotAvailable"):
        submit(cluster)


def test_a_run_waits_for_a_scaling_to_end(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    first = started(cluster, workers)
    clusters.scale_cluster(actor=actor(), cluster=cluster, instances=3)
    second = submit(cluster)
    fake_cloud.finish(first.pk)
    workers.work(seconds=60)
    assert now_is(second) == ("RUNNING", "")
    assert second.workers == 6


# --- secrets --------------------------------------------------------------------------------------------------------


def test_the_environment_is_sealed_wherever_it_rests(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cr3t-Zx9"
    run = workers.do(lambda: submit(cluster, environment={"TOKEN": secret}))
    payload = json.dumps(workers.sent)
    fake_cloud.fault(ZeroDivisionError, "start")
    workers.work(seconds=60)
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT string_agg(t::text, ' ') FROM \"{table}\" t")
            assert secret not in (cursor.fetchone()[0] or ""), table
    run.refresh_from_db()
    assert crypto.unseal(run.environment) == {"TOKEN": secret}
    assert run.environment_keys == ["TOKEN"]
    assert secret not in payload + caplog.text


def test_a_run_is_not_seen_from_another_workspace(cluster: Cluster) -> None:
    submit(cluster)
    other = make_workspace(make_organization())
    assert not Run.objects.in_workspace(other).exists()
    with pytest.raises(UserError, match="ClusterNotAvailable"):
        services.submit_run(actor=actor(), workspace=other, name="r", spec=JobSpec(file="job.py"), place=cluster)


def test_an_answer_of_a_start_is_kept_although_it_was_cancelled_meanwhile(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(cluster)
    machine = engine._machines["run"]
    advance = machine.advance

    def meanwhile(row: Run) -> Step:
        step = advance(row)
        if row.status == S.PENDING:
            cancel(row)
        return step

    monkeypatch.setattr(machine, "advance", meanwhile)
    workers.work(seconds=60)
    assert now_is(run) == ("CANCELLED", "Cancelled by user")
    assert fake_cloud.running() == []
