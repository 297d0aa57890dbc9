"""A cluster comes, changes its size, pauses, and goes without a trace."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from portal.clouds.base import CloudError, Failed, Handle, Pending, Settled, Target
from tests.clouds.aws import shim_ssm
from tests.clouds.aws.cloud import Aws
from tests.clouds.aws.shim_clusters import lose, region_of
from tests.clouds.aws.world_clusters import PLAIN, ClusterWorld, new_cluster_world

WHOLE = {
    "machines": 2,
    "running": 2,
    "launch templates": 1,
    "scaling groups": 1,
    "placement groups": 1,
    "grants": 1,
}


@pytest.fixture
def world(aws: Aws) -> ClusterWorld:
    return new_cluster_world(aws)


def things(world: ClusterWorld) -> dict[str, int]:
    """Moto makes disks of an image beside those that were asked for."""
    found = dict(world.there())
    assert found.pop("volumes", 0) >= found.get("machines", 0)
    return found


def ids(handle: Handle) -> list[str]:
    return [node["id"] for node in handle["nodes"]]


def group(world: ClusterWorld) -> dict[str, Any]:
    found = world.aws.administrator().client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return dict(found[0])


def failure(world: ClusterWorld, handle: Handle | None = None, target: Target = Target.RUNNING) -> CloudError:
    with pytest.raises(CloudError) as caught:
        world.go(target, handle)
    return caught.value


def test_a_cluster_comes_and_goes(world: ClusterWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handle = world.go()
    assert things(world) == WHOLE
    assert world.advance(handle).outcome == Settled()
    assert len(handle["nodes"]) == 2
    assert all(node["address"].startswith("172.31.") for node in handle["nodes"])
    id = f"workspaces/{world.spec.id}/clusters/{world.id}"
    document = world.cloud._store.load(id)
    assert document
    assert document["steps"] == handle["steps"]
    assert "lock" not in handle
    handle = world.go(Target.TERMINATED, handle)
    assert handle["steps"] == {}
    assert "nodes" not in handle
    assert things(world) == {}
    assert world.cloud._store.load(id) is None


def test_machines_are_made_as_they_should_be(world: ClusterWorld) -> None:
    world.more = {"tags": {"team": "research & co", "portal:workspace": "forged", "aws:x": "y"}, "spot": True}
    handle = world.go()
    session = world.aws.administrator()
    ec2 = session.client("ec2")
    found = ec2.describe_launch_template_versions(LaunchTemplateId=handle["steps"]["launch-template"]["id"])
    data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    workspace = {name: entry["id"] for name, entry in world.handle_of_workspace["steps"].items()}
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    disk = data["BlockDeviceMappings"][0]["Ebs"]
    assert (disk["Encrypted"], disk["KmsKeyId"], disk["VolumeType"]) == (True, workspace["key"], "gp3")
    assert disk["DeleteOnTermination"]
    interface = data["NetworkInterfaces"][0]
    assert (interface["InterfaceType"], interface["AssociatePublicIpAddress"]) == ("efa", False)
    assert interface["Groups"] == [workspace["nodes-group"]]
    assert data["IamInstanceProfile"] == {"Name": "portal-w"}
    assert data["Placement"]["GroupName"] == handle["steps"]["placement-group"]["id"]
    assert data["InstanceMarketOptions"]["SpotOptions"]["SpotInstanceType"] == "one-time"
    specifications = {each["ResourceType"]: each for each in data["TagSpecifications"]}
    for kind in ("instance", "volume", "network-interface"):
        specification = specifications[kind]
        tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
        assert tags == {
            "portal:workspace": world.spec.id,
            "portal:cluster": world.id,
            "portal:step": "machines",
            "Name": "bodo Analysis machines",
            "team": "research   co",
        }
    text = base64.b64decode(data["UserData"]).decode()
    assert text.startswith("#!/bin/bash\n")
    assert len(text) < 16_384
    assert "OPENSSH" not in text
    scaling = group(world)
    assert {each["ProcessName"] for each in scaling["SuspendedProcesses"]} == {
        *("AZRebalance", "AlarmNotification", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy"),
        *("ScheduledActions", "Launch"),
    }
    assert scaling["VPCZoneIdentifier"] == workspace["private-subnet-a"]
    grants = session.client("kms").list_grants(KeyId=workspace["key"])["Grants"]
    assert {each["GranteePrincipal"].rpartition("/")[2] for each in grants} == {
        "AWSServiceRoleForAutoScaling",
        "AWSServiceRoleForEC2Spot",
    }


def test_a_type_without_placement_groups_and_efa_gets_none(world: ClusterWorld) -> None:
    world.instance_type = PLAIN
    handle = world.go()
    assert "placement-group" not in handle["steps"]
    found = (
        world.aws.administrator()
        .client("ec2")
        .describe_launch_template_versions(LaunchTemplateId=handle["steps"]["launch-template"]["id"])
    )
    data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert "Placement" not in data
    assert "InterfaceType" not in data["NetworkInterfaces"][0]
    assert "InstanceMarketOptions" not in data


def test_the_role_of_the_customers_own_is_taken(world: ClusterWorld) -> None:
    world.aws.administrator().client("iam").create_instance_profile(InstanceProfileName="mine", Path="/portal/")
    world.more = {"instance_role": {"steps": {"profile": {"id": "mine", "state": "ready"}}}}
    assert world.go()["made_of"]["profile"] == "mine"
    world.more = {"instance_role": {"steps": {}}}
    assert failure(world).code == "InstanceRoleNotReady"


def commands(lines: list[tuple[str, str]]) -> shim_ssm.Execute:
    def execute(instance: str, said: Sequence[str]) -> tuple[int, str]:
        lines.append((instance, said[0]))
        return 0, ""

    return execute


def test_a_cluster_grows_and_shrinks_around_its_head(world: ClusterWorld) -> None:
    said: list[tuple[str, str]] = []
    shim_ssm.machines().execute = commands(said)
    two = world.go()
    assert [instance for instance, _ in said] == ids(two)
    said.clear()
    world.instances = 4
    four = world.go(handle=two)
    assert ids(four)[:2] == ids(two)
    assert len(set(ids(four))) == 4
    assert [instance for instance, _ in said] == ids(four)
    assert all(f"{node['address']}:64" in line for _, line in said for node in four["nodes"])
    said.clear()
    world.instances = 1
    one = world.go(handle=four)
    assert ids(one) == ids(four)[:1]
    assert things(world)["machines"] == 1
    assert len(said) == 1
    assert four["nodes"][1]["address"] not in said[0][1], "who left is not told any more"


def test_a_machine_that_leaves_is_not_looked_for_while_it_leaves(world: ClusterWorld) -> None:
    two = world.go()
    world.instances = 1
    step = world.advance(two)
    assert ids(step.handle) == ids(two)[:1]
    assert [event.message for event in step.events] == ["Changing the number of machines from 2 to 1"]


def test_a_pause_keeps_the_disks_and_the_order(world: ClusterWorld) -> None:
    running = world.go()
    paused = world.go(Target.PAUSED, running)
    assert things(world)["stopped"] == 2
    assert "running" not in things(world)
    assert {"Launch", "Terminate"} <= {each["ProcessName"] for each in group(world)["SuspendedProcesses"]}
    said: list[tuple[str, str]] = []
    shim_ssm.machines().execute = commands(said)
    resumed = world.go(handle=paused)
    assert ids(resumed) == ids(running)
    assert things(world) == WHOLE
    assert len(said) == 2, "prepared again"
    assert "pause" not in resumed["steps"]


def test_a_paused_cluster_resumes_with_another_size(world: ClusterWorld) -> None:
    paused = world.go(Target.PAUSED, world.go())
    world.instances = 3
    resumed = world.go(handle=paused)
    assert ids(resumed)[:2] == ids(paused)
    assert things(world)["running"] == 3


@pytest.mark.parametrize("target", [Target.STOPPED, Target.TERMINATED])
def test_a_paused_cluster_goes_without_being_started(world: ClusterWorld, target: Target) -> None:
    paused = world.go(Target.PAUSED, world.go())
    world.aws.asked.clear()
    world.go(target, paused)
    assert "StartInstances" not in world.aws.asked
    assert things(world) == {}


def test_a_stopped_cluster_costs_nothing_and_starts_anew(world: ClusterWorld) -> None:
    first = world.go()
    stopped = world.go(Target.STOPPED, first)
    assert stopped["steps"] == {}
    assert things(world) == {}
    assert world.cloud._store.load(f"workspaces/{world.spec.id}/clusters/{world.id}"), "its definition stays"
    again = world.go(handle=stopped)
    assert not set(ids(again)) & set(ids(first))


def test_spot_cannot_pause(world: ClusterWorld) -> None:
    world.more = {"spot": True}
    handle = world.go()
    error = failure(world, handle, Target.PAUSED)
    assert (error.code, error.permanent) == ("SpotCannotPause", True)
    assert things(world)["running"] == 2


def test_a_restart_replaces_the_machines_and_nothing_else_is_left(world: ClusterWorld) -> None:
    first = world.go()
    world.more = {"generation": 2}
    second = world.go(handle=first)
    assert not set(ids(first)) & set(ids(second))
    assert things(world) == WHOLE
    assert second["steps"]["placement-group"] == first["steps"]["placement-group"]


def test_an_upgraded_portal_leaves_running_machines_alone(world: ClusterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = world.go()
    monkeypatch.setattr("portal.clouds.aws.bootstrap.digest_of", lambda release: "0" * 64)
    world.aws.asked.clear()
    assert world.advance(handle).outcome == Settled()
    paused = world.go(Target.PAUSED, handle)
    assert ids(world.go(handle=paused)) == ids(handle)


# --- Zones, and machines that do not come -----------------------------------------------------------------------------


def test_the_next_zone_is_tried_where_one_has_none(world: ClusterWorld) -> None:
    region_of().stock = {"us-east-2a": 1, "us-east-2b": 0}
    told: list[str] = []
    handle: Handle = {}
    for _ in range(200):
        step = world.advance(handle)
        handle = step.handle
        told += [event.message for event in step.events if event.message.startswith("No ")]
        assert not isinstance(step.outcome, Failed)
        if isinstance(step.outcome, Settled):
            break
    assert told == [
        "No c6i.32xlarge in us-east-2a: trying us-east-2b",
        "No c6i.32xlarge in us-east-2b: trying us-east-2c",
    ]
    assert things(world) == WHOLE
    assert group(world)["AvailabilityZones"] == ["us-east-2c"]


def test_when_all_zones_were_tried_people_are_told(world: ClusterWorld) -> None:
    region_of().stock = {"us-east-2a": 0, "us-east-2b": 0, "us-east-2c": 0}
    error = failure(world)
    assert (error.code, error.permanent) == ("InsufficientCapacity", True)
    assert "in us-east-2a, us-east-2b, us-east-2c now" in error.message
    assert "sufficient c6i.32xlarge capacity" in error.message
    stopped = world.go(Target.STOPPED, error.handle)  # type: ignore[attr-defined]
    assert things(world) == {}
    region_of().stock = {}
    world.go(handle=stopped)
    assert group(world)["AvailabilityZones"] == ["us-east-2a"]


def test_a_chosen_zone_is_the_only_one(world: ClusterWorld) -> None:
    world.more = {"zone": "us-east-2b"}
    region_of().stock = {"us-east-2b": 0}
    error = failure(world)
    assert error.code == "InsufficientCapacity"
    assert "us-east-2a" not in error.message
    assert error.hint.endswith("or Auto as its zone.")
    world.more = {"zone": "us-east-2f"}
    error = failure(world, world.go(Target.STOPPED, error.handle))  # type: ignore[attr-defined]
    assert (error.code, error.permanent) == ("ZoneNotInWorkspace", True)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("You have requested more vCPU capacity than your current vCPU limit of 32 allows.", "QuotaExceeded"),
        ("Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count", "QuotaExceeded"),
        ("You are not authorized to perform this operation. Launching EC2 instance failed.", "PermissionDenied"),
    ],
)
def test_what_another_zone_would_not_help_fails_at_once(world: ClusterWorld, said: str, code: str) -> None:
    region_of().stock = {"us-east-2a": 0}
    region_of().refusal = said
    error = failure(world)
    assert (error.code, error.permanent) == (code, True)
    assert error.handle["zone"] == 0  # type: ignore[attr-defined]


def test_a_failed_growth_leaves_the_cluster_where_it_is(world: ClusterWorld) -> None:
    two = world.go()
    region_of().stock = {"us-east-2a": 0}
    world.instances = 3
    error = failure(world, two)
    assert (error.code, error.permanent) == ("InsufficientCapacity", True)
    handle = error.handle  # type: ignore[attr-defined]
    assert ids(handle) == ids(two)
    world.instances = 2
    assert ids(world.go(handle=handle)) == ids(two)
    assert group(world)["DesiredCapacity"] == 2
    assert things(world) == WHOLE


def test_a_type_that_is_not_offered_is_refused_before_anything_is_made(world: ClusterWorld) -> None:
    world.instance_type = "q9.huge"
    assert failure(world).code == "InstanceTypeUnknown"
    assert things(world) == {}


def test_machines_that_do_not_come_fail_with_what_aws_said_last(
    world: ClusterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    region_of().stock = {"us-east-2a": 0}
    region_of().refusal = "Client.InternalError: Client error on launch"
    handle: Handle = {}
    for _ in range(100):
        step = world.advance(handle)
        handle = step.handle
        assert isinstance(step.outcome, Pending)
    monkeypatch.setattr("portal.clouds.aws.machines.LAUNCH_SECONDS", 0.0)
    error = failure(world, handle)
    assert (error.code, error.permanent) == ("MachinesLate", True)
    assert "Client error on launch" in error.message


def test_a_machine_that_goes_while_it_is_made_fails_it(world: ClusterWorld) -> None:
    shim_ssm.machines().all_silent = True
    handle: Handle = {}
    for _ in range(40):
        handle = world.advance(handle).handle
    ec2 = world.aws.administrator().client("ec2")
    one = ec2.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    lose(one)
    error = failure(world, handle)
    assert (error.code, error.permanent) == ("MachineLost", True)
    assert one in error.message


def test_it_is_initializing_while_machines_are_prepared(world: ClusterWorld) -> None:
    shim_ssm.machines().late = 2
    shim_ssm.machines().hidden = 1
    outcomes = []
    handle: Handle = {}
    for _ in range(100):
        step = world.advance(handle)
        handle = step.handle
        outcomes.append(step.outcome)
        if isinstance(step.outcome, Settled):
            break
    waiting = [index for index, each in enumerate(outcomes) if each == Pending(0.0, initializing=True)]
    assert len(waiting) == 3, "hidden once, late twice"
    assert isinstance(outcomes[-1], Settled)


def test_a_machine_that_cannot_be_prepared_is_named_with_its_last_words(world: ClusterWorld) -> None:
    bad: list[str] = []

    def execute(instance: str, lines: Sequence[str]) -> tuple[int, str]:
        bad[:] = bad or [instance]
        return (1, "Bodo 2026.10 is not there\npip: no space left") if instance == bad[0] else (0, "")

    shim_ssm.machines().execute = execute
    error = failure(world)
    assert (error.code, error.permanent) == ("MachineNotPrepared", True)
    assert f"({bad[0]})" in error.message
    assert error.message.endswith("pip: no space left")


def test_preparation_ends_in_time(world: ClusterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    shim_ssm.machines().late = 1_000_000
    handle: Handle = {}
    for _ in range(60):
        handle = world.advance(handle).handle
    monkeypatch.setattr("portal.clouds.aws.preparation.SECONDS", -1000)
    assert failure(world, handle).code == "MachineNotPrepared"


@pytest.mark.parametrize(
    "operation",
    ["DescribeInstances", "DescribeLaunchTemplates", "DescribePlacementGroups", "DescribeAutoScalingGroups"],
)
def test_what_aws_does_not_show_at_once_is_not_made_twice(world: ClusterWorld, operation: str) -> None:
    """As the reconciler has it: what fails is tried again."""
    region_of().hidden = {operation: 3}
    region_of().pending = 3
    handle: Handle = {}
    failures = 0
    for _ in range(200):
        step = world.advance(handle)
        handle = step.handle
        if isinstance(step.outcome, Failed):
            assert not step.outcome.error.permanent
            failures += 1
        if isinstance(step.outcome, Settled):
            break
    assert failures <= 5
    assert things(world) == WHOLE
    world.go(Target.TERMINATED, handle)
    assert things(world) == {}


def test_aws_makes_the_role_that_launches_machines_where_there_is_none(world: ClusterWorld) -> None:
    said = "ARN does not refer to a valid principal"
    world.aws.fail("CreateGrant", "InvalidArnException", said)
    error = failure(world)
    assert (error.code, error.permanent) == ("RoleNotReady", False)
    assert "CreateServiceLinkedRole" in world.aws.asked
    world.aws.fail("CreateGrant", "InvalidArnException", said)
    error = failure(world, error.handle)  # type: ignore[attr-defined]
    assert error.code == "RoleNotReady", "made already, and not known everywhere yet"
    world.go(handle=error.handle)  # type: ignore[attr-defined]
    assert things(world) == WHOLE


def test_ids_that_are_none_are_refused(world: ClusterWorld) -> None:
    world.id = "../x"
    assert failure(world).code == "InvalidId"


def test_the_software_goes_with_the_workspace(world: ClusterWorld) -> None:
    handle = world.go()
    s3, bucket = world.aws.administrator().client("s3"), world.cloud.configuration.bucket
    prefix = f"workspaces/{world.spec.id}/node/"

    def there() -> int:
        return int(s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"])

    assert there() == 1
    world.go(Target.TERMINATED, handle)
    assert there() == 1, "other clusters use it"
    assert isinstance(world.cloud.advance_workspace(world.spec, {}, Target.TERMINATED).outcome, Settled)
    assert there() == 0


def test_the_handle_is_json(world: ClusterWorld) -> None:
    handle = world.go()
    assert json.loads(json.dumps(handle)) == handle
