"""The maximum lifetime of clusters: when it begins, what ends with it, and who is told before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import AuditEvent, User
from accounts.permissions import WorkspaceRole
from clusters import launching, services
from clusters.lifetimes import end_lifetimes
from clusters.models import Cluster, ClusterStatus
from clusters.services import ACTIONS
from portal.clouds.base import Target
from portal.errors import UserError
from tests.factories import (
    actor,
    add_to_workspace,
    make_cluster,
    make_organization,
    make_run,
    make_user,
    make_workspace,
)
from tests.fakes import Clock, FakeCloud, Workers
from tests.mailbox import delivered
from workspaces.models import Workspace

S = ClusterStatus


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def workspace(alice: User) -> Workspace:
    return make_workspace(make_organization(alice))


@pytest.fixture
def cluster(workspace: Workspace, alice: User, fake_cloud: FakeCloud, workers: Workers) -> Cluster:
    """One that runs and may do so for an hour."""
    made = services.create_cluster(
        actor=actor(alice),
        workspace=workspace,
        name="etl",
        instance_type="local.1x",
        instances=2,
        release="2026.10",
        max_lifetime_minutes=60,
    )
    workers.work()
    made.refresh_from_db()
    assert made.status == S.RUNNING
    return made


def act(cluster: Cluster, name: str) -> None:
    services.act(actor=actor(), cluster=cluster, action=ACTIONS[name])


def fresh(cluster: Cluster) -> Cluster:
    return Cluster.objects.get(pk=cluster.pk)


def test_it_is_stopped_at_the_minute_however_busy(cluster: Cluster, workers: Workers) -> None:
    run = make_run(cluster, status="RUNNING")
    Cluster.objects.filter(pk=cluster.pk).update(busy_with=run.pk)
    began = fresh(cluster).running_since
    assert began is not None
    workers.clock.at = began + timedelta(minutes=60, microseconds=-1)
    assert end_lifetimes() == 0
    workers.clock.move(microseconds=1)
    assert end_lifetimes() == 1
    assert end_lifetimes() == 0
    row = fresh(cluster)
    assert row.target == Target.STOPPED
    assert row.transitions.filter(kind="REQUEST").order_by("-seq")[0].actor_label == (
        "Bodo Cloud Platform (maximum lifetime)"
    )
    assert AuditEvent.objects.filter(verb="cluster.stop", actor_kind="SYSTEM").count() == 1 or (
        AuditEvent.objects.filter(verb="cluster.stop").count() == 1
    )


def test_without_a_maximum_it_goes_on(cluster: Cluster, workers: Workers) -> None:
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=0)
    workers.clock.move(days=300)
    assert end_lifetimes() == 0


def test_deploying_does_not_count_and_a_resume_begins_anew(cluster: Cluster, workers: Workers) -> None:
    first = fresh(cluster).running_since
    workers.clock.move(minutes=50)
    act(cluster, "pause")
    workers.work()
    assert fresh(cluster).running_since is None
    workers.clock.move(days=1)
    assert end_lifetimes() == 0
    act(cluster, "resume")
    assert fresh(cluster).running_since is None
    workers.work()
    row = fresh(cluster)
    assert row.running_since is not None
    assert first is not None
    assert row.running_since > first + timedelta(days=1)
    assert row.running_since == row.transitions.filter(status="RUNNING", kind="STATUS").order_by("-seq")[0].at


@pytest.mark.parametrize("what", ["restart", "scale"])
def test_a_restart_and_another_size_do_not_begin_anew(what: str, cluster: Cluster, workers: Workers) -> None:
    first = fresh(cluster).running_since
    workers.clock.move(minutes=50)
    if what == "restart":
        act(cluster, "restart")
    else:
        services.scale_cluster(actor=actor(), cluster=cluster, instances=3)
    workers.work(seconds=60)
    assert fresh(cluster).status == S.RUNNING
    assert fresh(cluster).running_since == first


def test_it_ends_also_in_the_middle_of_a_restart(cluster: Cluster, workers: Workers, fake_cloud: FakeCloud) -> None:
    began = fresh(cluster).running_since
    assert began is not None
    workers.clock.at = began + timedelta(minutes=59)
    fake_cloud.looks = 10_000
    act(cluster, "restart")
    workers.work(seconds=20)
    assert fresh(cluster).status != S.RUNNING
    workers.clock.at = began + timedelta(minutes=60)
    assert end_lifetimes() == 1


def test_those_concerned_are_told_once_and_of_the_job_that_would_be_cut(
    cluster: Cluster, alice: User, workers: Workers
) -> None:
    bob, gone = make_user("bob"), make_user("gone")
    add_to_workspace(cluster.workspace, bob, WorkspaceRole.DEVELOPER)
    run = make_run(cluster, name="nightly", status="RUNNING", requested_by=bob)
    Cluster.objects.filter(pk=cluster.pk).update(busy_with=run.pk)
    began = fresh(cluster).running_since
    assert began is not None
    workers.clock.at = began + timedelta(minutes=50, microseconds=-1)
    end_lifetimes()
    assert delivered() == []
    workers.clock.move(microseconds=1)
    end_lifetimes()
    end_lifetimes()
    sent = delivered()
    assert sorted(message.to[0] for message in sent) == sorted([alice.email, bob.email])
    assert gone.email not in str([message.to for message in sent])
    end = began + timedelta(minutes=60)
    for message in sent:
        assert message.subject == f"etl is stopped at {end:%H:%M} UTC"
        assert "The job nightly is under way on it and is cancelled then." in message.body
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=65)
    end_lifetimes()
    assert len(delivered()) == 2, "that is 15 minutes away now"
    workers.clock.move(minutes=5)
    end_lifetimes()
    assert len(delivered()) == 4


def test_where_nobody_made_it_the_admins_are_told(workspace: Workspace, clock: Clock) -> None:
    admin, viewer = make_user("admin"), make_user("viewer")
    add_to_workspace(workspace, admin, WorkspaceRole.ADMIN)
    add_to_workspace(workspace, viewer, WorkspaceRole.VIEWER)
    stranger = make_user("stranger")
    made = make_cluster(workspace, created_by=stranger, max_lifetime_minutes=5, running_since=clock.at)
    end_lifetimes()
    assert [message.to for message in delivered()] == [[admin.email]]
    assert fresh(made).target == Target.RUNNING


def test_the_page_tells_the_end_and_warns_before_it(
    cluster: Cluster, alice: User, workers: Workers, client: Any
) -> None:
    client.force_login(alice)
    page = client.get(cluster.get_absolute_url()).content.decode()
    assert "60 min" in page
    assert "Its maximum lifetime ends" not in page
    run = make_run(cluster, name="nightly", status="RUNNING")
    Cluster.objects.filter(pk=cluster.pk).update(busy_with=run.pk)
    workers.clock.move(minutes=55)
    page = client.get(cluster.get_absolute_url()).content.decode()
    assert "Its maximum lifetime ends" in page
    assert reverse("jobs:detail", args=[run.workspace_id, run.pk]) in page


def test_a_lifetime_that_is_over_already_is_refused(cluster: Cluster, workers: Workers) -> None:
    workers.clock.move(minutes=30)
    with pytest.raises(UserError, match="LifetimeOver"):
        services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=30)
    assert fresh(cluster).max_lifetime_minutes == 60
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=31)


def test_whoever_stands_above_is_asked_about_a_longer_life(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(launching, "checks", [lambda by, row: asked.append(row.max_lifetime_minutes)])
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=120)
    services.update_cluster(actor=actor(), cluster=cluster, name="other")
    act(cluster, "stop")
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=240)
    assert asked == [120]


@pytest.mark.parametrize("minutes", ["", "0", "90"])
def test_the_form_takes_minutes_or_none(
    minutes: str, workspace: Workspace, alice: User, client: Any, fake_cloud: FakeCloud
) -> None:
    client.force_login(alice)
    form = {"name": "c", "instance_type": "local.1x", "instances": "1", "release": "2026.10", "tags": ""}
    form |= {"auto_pause_minutes": "0", "auto_stop_minutes": "0", "max_lifetime_minutes": minutes}
    assert client.post(reverse("clusters:new", args=[workspace.pk]), form).status_code == 302
    assert Cluster.objects.get().max_lifetime_minutes == int(minutes or 0)


@pytest.mark.parametrize("minutes", ["-1", "44641", "9" * 30, "x", "1.5", "NaN"])
def test_the_form_refuses_what_is_no_number_of_minutes(
    minutes: str, workspace: Workspace, alice: User, client: Any, fake_cloud: FakeCloud
) -> None:
    client.force_login(alice)
    form = {"name": "c", "instance_type": "local.1x", "instances": "1", "release": "2026.10", "tags": ""}
    form |= {"auto_pause_minutes": "0", "auto_stop_minutes": "0", "max_lifetime_minutes": minutes}
    assert client.post(reverse("clusters:new", args=[workspace.pk]), form).status_code == 422
    assert not Cluster.objects.exists()
