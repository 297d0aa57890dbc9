"""How machines look from outside, and what it costs to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.clouds.aws import observe
from portal.clouds.base import Handle, Health, Target
from tests.clouds.aws import shim_ssm
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.shim_clusters import lose
from tests.clouds.aws.world_clusters import PLAIN, ClusterWorld, new_cluster_world

H = Health


@pytest.fixture
def world(aws: Aws) -> ClusterWorld:
    return new_cluster_world(aws, instance_type=PLAIN)


def healths(world: ClusterWorld, handle: Handle) -> list[Health]:
    return [node.health for node in world.cloud.observe_clusters([handle])[0].nodes]


def test_machines_are_healthy_while_they_are_heard_of(world: ClusterWorld) -> None:
    handle = world.go()
    observation = world.cloud.observe_clusters([handle])[0]
    assert [node.health for node in observation.nodes] == [H.HEALTHY, H.HEALTHY]
    assert [node.name for node in observation.nodes] == [node["id"] for node in handle["nodes"]]
    assert [node.address for node in observation.nodes] == [node["address"] for node in handle["nodes"]]
    assert all(node.heartbeat for node in observation.nodes)
    assert not observation.lost


@pytest.mark.parametrize("state", ["terminated", "stopped"])
def test_a_machine_that_was_taken_or_stopped_is_lost(world: ClusterWorld, state: str) -> None:
    handle = world.go()
    lose(handle["nodes"][1]["id"], state)
    assert healths(world, handle) == [H.HEALTHY, H.LOST]


def test_a_machine_that_is_silent_is_lost_only_after_long(world: ClusterWorld) -> None:
    handle = world.go()
    silent = handle["nodes"][0]["id"]
    shim_ssm.machines().lost[silent] = observe.SILENT.total_seconds() - 60
    assert healths(world, handle) == [H.HEALTHY, H.HEALTHY]
    shim_ssm.machines().lost[silent] = observe.SILENT.total_seconds() + 60
    assert healths(world, handle) == [H.LOST, H.HEALTHY]


def test_a_machine_that_is_not_known_any_more_is_lost_only_after_long(world: ClusterWorld) -> None:
    handle = world.go()
    shim_ssm.machines().all_silent = True
    assert healths(world, handle) == [H.STARTING, H.STARTING]
    later = datetime.now(UTC) + observe.SILENT + timedelta(minutes=1)
    seen = observe.observe(world.cloud.session(REGION), [handle], later)[0]
    assert [node.health for node in seen.nodes] == [H.LOST, H.LOST]


def test_machines_that_are_coming_are_shown_before_they_are_known(world: ClusterWorld) -> None:
    shim_ssm.machines().all_silent = True
    handle: Handle = {}
    for _ in range(40):
        handle = world.advance(handle).handle
    assert "nodes" not in handle
    assert healths(world, handle) == [H.STARTING, H.STARTING]


def test_a_cluster_without_machines_has_none(world: ClusterWorld) -> None:
    assert healths(world, {}) == []
    assert healths(world, world.go(Target.STOPPED, world.go())) == []


def test_many_clusters_are_looked_at_with_two_lists(world: ClusterWorld) -> None:
    """Whatever their number; only pages grow, with the machines that there are."""
    ec2 = world.aws.administrator().client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    world.cloud.observe_clusters([])
    world.cloud.zones(REGION)  # the role is borrowed before
    handles: list[dict[str, Any]] = []
    for number in range(200):
        handles.append({"cluster": f"c{number}", "region": REGION, "steps": {"preparation": {"state": "ready"}}})
    for number in range(0, 200, 4):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "portal:cluster", "Value": f"c{number}"}]}]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)["Instances"][0]
        handles[number]["nodes"] = [{"id": made["InstanceId"], "address": made["PrivateIpAddress"]}]
    world.aws.asked.clear()
    seen = world.cloud.observe_clusters(handles)
    assert [len(each.nodes) for each in seen] == [1, 0, 0, 0] * 50
    assert all(node.health is H.HEALTHY for each in seen for node in each.nodes)
    assert sorted(world.aws.asked) == ["DescribeInstanceInformation", "DescribeInstances"]
    world.aws.asked.clear()
    west = {"cluster": "x", "region": "us-west-2"}
    assert len(world.cloud.observe_clusters([west, *handles])) == 201
    assert world.aws.asked.count("DescribeInstances") == 2, "once for each region"
