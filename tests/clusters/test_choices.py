"""Spot instances, zones and instance roles: what may be chosen, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEvent
from clusters import idleness, services, services_idle
from clusters.models import Cluster, ClusterStatus
from clusters.services import ACTIONS
from portal.clouds.base import Features, Target
from portal.errors import UserError
from tests.factories import actor, make_cluster, make_instance_role, make_organization, make_workspace
from tests.fakes import FakeCloud, Workers
from workspaces.models import Workspace

S = ClusterStatus
EVERYTHING = Features(spot=True, zones=True, instance_roles=True)
STOPPED: dict[str, Any] = {"status": S.STOPPED, "target": Target.STOPPED}


@pytest.fixture
def workspace(fake_cloud: FakeCloud, workers: Workers) -> Workspace:
    fake_cloud.features, fake_cloud.looks, fake_cloud.going = EVERYTHING, 0, 0
    fake_cloud.region_zones = ["a", "b"]
    return make_workspace(make_organization())


def create(workspace: Workspace, **fields: Any) -> Cluster:
    values = {"name": "c", "instance_type": "local.1x", "instances": 1, "release": "2026.10", **fields}
    return services.create_cluster(actor=actor(), workspace=workspace, **values)


def refusal(workspace: Workspace, **fields: Any) -> str:
    with pytest.raises(UserError) as caught:
        create(workspace, **fields)
    assert not Cluster.objects.exists()
    return caught.value.code


def test_what_was_chosen_reaches_the_cloud_and_the_audit_log(workspace: Workspace) -> None:
    role = make_instance_role(workspace, handle={"role": "reader"})
    spec = create(workspace, spot=True, zone="b", instance_role=role, auto_stop_minutes=30).spec()
    assert (spec.spot, spec.zone, spec.instance_role) == (True, "b", {"role": "reader"})
    after = AuditEvent.objects.get(verb="cluster.create").detail["after"]
    assert (after["spot"], after["zone"], after["instance_role"]) == (True, "b", role.name)
    plain = create(workspace, name="d").spec()
    assert (plain.spot, plain.zone, plain.instance_role) == (False, "", {})


def test_what_the_cloud_does_not_have_is_refused(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    fake_cloud.features = Features()
    assert refusal(workspace, spot=True) == "SpotNotOffered"
    assert refusal(workspace, zone="a") == "ZoneNotOffered"


def test_a_zone_is_one_of_the_workspaces(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    assert refusal(workspace, zone="c") == "ZoneNotOffered"
    fake_cloud.workspace_zones = ["a"]
    assert refusal(workspace, zone="b") == "ZoneNotOffered"
    assert create(workspace, zone="a").zone == "a"


@pytest.mark.parametrize(
    "fields", [{"status": "FAILED"}, {"status": "NEW"}, {"target": Target.TERMINATED}, {"status": "TERMINATED"}]
)
def test_a_role_has_to_be_active(workspace: Workspace, fields: dict[str, Any]) -> None:
    assert refusal(workspace, instance_role=make_instance_role(workspace, **fields)) == "RoleNotUsable"


def test_a_role_of_another_workspace_is_none(workspace: Workspace) -> None:
    sister = make_workspace(workspace.organization, workspace.cloud_configuration)
    assert refusal(workspace, instance_role=make_instance_role(sister)) == "RoleNotUsable"


def test_they_are_changed_at_rest_only(workspace: Workspace) -> None:
    role = make_instance_role(workspace)
    changes = {"spot": True, "zone": "b", "instance_role": role}
    running, stopped = make_cluster(workspace), make_cluster(workspace, **STOPPED)
    for field, value in changes.items():
        with pytest.raises(UserError, match="cannot be changed while"):
            services.update_cluster(actor=actor(), cluster=running, **{field: value})
    services.update_cluster(actor=actor(), cluster=stopped, **changes)
    stopped.refresh_from_db()
    assert (stopped.spot, stopped.zone, stopped.instance_role) == (True, "b", role)
    detail = AuditEvent.objects.get(verb="cluster.update").detail
    assert detail["before"] == {"spot": False, "zone": "", "instance_role": None}
    assert detail["after"] == {"spot": True, "zone": "b", "instance_role": role.name}


def test_what_is_not_on_offer_any_more_stays_until_it_is_changed(workspace: Workspace) -> None:
    gone = make_instance_role(workspace, status="FAILED")
    cluster = make_cluster(workspace, zone="z", instance_role=gone, **STOPPED)
    services.update_cluster(actor=actor(), cluster=cluster, name="other", zone="z", instance_role=gone)
    with pytest.raises(UserError):
        services.update_cluster(actor=actor(), cluster=cluster, zone="y")
    services.update_cluster(actor=actor(), cluster=cluster, zone="", instance_role=None)


# --- spot clusters cannot pause -------------------------------------------------------------------------------------


def test_auto_pause_is_refused_with_spot(workspace: Workspace) -> None:
    assert refusal(workspace, spot=True, auto_pause_minutes=60) == "SpotCannotPause"
    spot = make_cluster(workspace, spot=True)
    with pytest.raises(UserError, match="cannot pause"):
        services.update_cluster(actor=actor(), cluster=spot, auto_pause_minutes=5)
    paused = make_cluster(workspace, auto_pause_minutes=60, **STOPPED)
    with pytest.raises(UserError, match="cannot pause"):
        services.update_cluster(actor=actor(), cluster=paused, spot=True)
    services.update_cluster(actor=actor(), cluster=paused, spot=True, auto_pause_minutes=0, auto_stop_minutes=60)


@pytest.mark.parametrize("status", [S.RUNNING, S.PAUSED, S.STOPPED])
def test_a_pause_is_refused_in_plain_words(workspace: Workspace, status: str) -> None:
    cluster = make_cluster(workspace, status=status, target=status, spot=True)
    assert "Stop it instead" in services.refusal_of(cluster, ACTIONS["pause"])
    with pytest.raises(UserError, match="spot cluster cannot be paused"):
        services.act(actor=actor(), cluster=cluster, action=ACTIONS["pause"])
    assert not services.refusal_of(make_cluster(workspace, spot=True), ACTIONS["stop"])


def test_nobody_pauses_it_by_itself_and_auto_stop_holds(workspace: Workspace, workers: Workers) -> None:
    workers.periodic.append(services_idle.pause_idle)
    both = make_cluster(workspace, spot=True, auto_pause_minutes=5, auto_stop_minutes=30)
    only = make_cluster(workspace, spot=True, auto_pause_minutes=5)
    found = idleness.outlook(both, workers.clock.at)
    assert found is not None
    assert (found.action, found.minutes) == ("stop", 30)
    never = idleness.outlook(only, workers.clock.at)
    assert never is not None
    assert never.state == "NEVER"
    assert list(Cluster.objects.idle_at(workers.clock.move(minutes=10))) == []
    assert list(Cluster.objects.idle_at(workers.clock.move(minutes=30))) == [both]
    workers.work(seconds=60)
    both.refresh_from_db()
    only.refresh_from_db()
    assert (both.status, only.status) == (S.STOPPED, S.RUNNING)
