"""Runs keep their clusters from being paused: the one that has it and those that wait for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from clusters import services, services_idle
from clusters.idleness import Signal, signals_of
from clusters.models import Activity, Cluster
from jobs.models import Run
from tests.factories import actor, make_cluster, make_organization, make_run, make_user, make_workspace
from tests.fakes import FakeCloud, Workers
from tests.jobs.flow import cancel, started, submit


def texts(cluster: Cluster) -> list[str]:
    cluster.refresh_from_db()
    return [signal.text for signal in signals_of([cluster]).get(cluster.pk, [])]


def test_the_runs_of_a_cluster_are_named(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    assert texts(cluster) == []
    run = started(cluster, workers, name="nightly")
    assert texts(cluster) == ["the run nightly"]
    submit(cluster)
    assert texts(cluster) == ["the run nightly", "a run in its queue"]
    submit(cluster)
    assert texts(cluster) == ["the run nightly", "2 runs in its queue"]
    signals = signals_of([cluster])[cluster.pk]
    assert signals[0] == Signal("the run nightly", run.get_absolute_url())
    assert signals[1].url == f"/w/{cluster.workspace_id}/jobs/?cluster={cluster.pk}"


@pytest.mark.parametrize(
    ("fields", "alive"),
    [
        ({}, True),
        ({"not_before": timedelta(seconds=-1)}, True),
        ({"not_before": timedelta(hours=1), "auto_resume": False}, True),
        ({"not_before": timedelta(hours=1)}, False),  # it resumes the cluster when its time has come
        ({"status": "SUCCEEDED"}, False),
    ],
)
def test_which_runs_keep_a_cluster_alive(
    fields: dict[str, Any], alive: bool, cluster: Cluster, workers: Workers
) -> None:
    if "not_before" in fields:
        fields = {**fields, "not_before": workers.clock.at + fields["not_before"]}
    make_run(cluster, **fields)
    services.update_cluster(actor=actor(), cluster=cluster, auto_pause_minutes=1)
    workers.clock.move(minutes=5)
    assert bool(texts(cluster)) == alive
    assert services_idle.pause_idle() == (not alive)


def test_idle_time_begins_when_the_last_run_that_waited_is_gone(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    services.update_cluster(actor=actor(), cluster=cluster, auto_pause_minutes=10)
    run = make_run(cluster, name="held", created_at=workers.clock.at)
    Run.objects.filter(pk=run.pk).update(due_at=None)
    workers.clock.move(hours=1)
    assert services_idle.pause_idle() == 0
    cancel(run)
    workers.work(seconds=1)
    run.refresh_from_db()
    assert run.status == "CANCELLED"
    ended = workers.clock.at
    cluster.refresh_from_db()
    assert (cluster.last_activity, cluster.last_activity_name) == (Activity.RUN, "held")
    assert ended - cluster.last_activity_at < timedelta(seconds=5)
    assert services_idle.pause_idle() == 0
    workers.clock.move(minutes=10)
    assert services_idle.pause_idle() == 1


def test_who_asked_for_a_run_has_used_its_cluster(cluster: Cluster, workers: Workers) -> None:
    """A schedule is nobody, and takes nobody's place."""
    from jobs import services as jobs
    from jobs.spec import JobSpec

    alice = make_user("alice")
    given: dict[str, Any] = {"workspace": cluster.workspace, "spec": JobSpec(file="job.py"), "place": cluster}
    jobs.submit_run(actor=actor(alice), name="hers", **given)
    cluster.refresh_from_db()
    assert (cluster.last_used_by, cluster.last_activity_name) == (alice, "hers")
    jobs.submit_run(actor=actor(), name="nobody's", **given)
    cluster.refresh_from_db()
    assert (cluster.last_used_by, cluster.last_activity_name) == (alice, "nobody's")


def test_many_clusters_take_two_queries(db: None) -> None:
    workspace = make_workspace(make_organization())
    clusters = []
    for _ in range(5):
        cluster = make_cluster(workspace)
        run = make_run(cluster, status="RUNNING")
        Cluster.objects.filter(pk=cluster.pk).update(busy_with=run.pk)
        make_run(cluster)
        clusters.append(Cluster.objects.get(pk=cluster.pk))
    with CaptureQueriesContext(connection) as captured:
        found = signals_of(clusters)
    assert len(captured) == 2
    assert all(len(found[cluster.pk]) == 2 for cluster in clusters)
