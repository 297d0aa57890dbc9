"""What stands in the account without a record: found, removed, adopted; and nothing else."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from portal.clouds.aws import orphans as orphans_module
from portal.clouds.aws import prices
from portal.clouds.aws.grants_orphans import ORPHANS
from portal.clouds.aws.permissions import GRANTS
from portal.clouds.base import CloudError, Handle, Orphan, Owned, Target
from tests.clouds.aws import shim_prices as shim_prices
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.world import World, census, new_world

IMAGE = {"Name": "name", "Values": ["amzn2-ami-hvm-2.0.*"]}


@pytest.fixture
def world(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two regions instead of four: clients take long to make."""
    monkeypatch.setattr(orphans_module, "REGIONS", (REGION, "us-west-1"))
    prices.forget()
    return new_world(aws)


def owned(world: World, handle: Handle) -> list[Owned]:
    return [Owned("workspace", world.spec.id, world.spec.name, REGION, handle)]


def found(world: World, *records: Owned) -> list[Orphan]:
    return list(world.cloud.find_orphans(records))


def kinds(orphans: list[Orphan]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for orphan in orphans:
        counted[orphan.kind] = counted.get(orphan.kind, 0) + 1
    return counted


def removed(world: World, orphans: list[Orphan]) -> None:
    """Until all are absent; what is used by another is tried again."""
    left = list(orphans)
    for _ in range(20):
        world.aws.administrator().client("ec2").describe_network_interfaces()  # time passes
        still = []
        for orphan in left:
            try:
                gone = world.cloud.remove_orphan(orphan)
            except CloudError as error:
                if error.code != "InUse":
                    raise
                gone = False
            if not gone:
                still.append(orphan)
        left = still
        if not left:
            return
    raise AssertionError(f"left: {left}")


def allowed() -> set[str]:
    return {action for grant in GRANTS for action in grant.actions}


def tags(workspace: str, step: str, **more: str) -> list[dict[str, str]]:
    pairs = {"portal:workspace": workspace, "portal:step": step, "Name": f"bodo lost {step}", **more}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def of_ec2(kind: str, workspace: str, step: str, **more: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(workspace, step, **more)}]


def test_a_workspace_whose_record_is_lost_is_found_whole_and_can_be_removed(world: World) -> None:
    handle = world.go()
    assert found(world, *owned(world, handle)) == []
    orphans = found(world)
    assert kinds(orphans) == {
        "VPC": 1,
        "subnet": 6,
        "internet gateway": 1,
        "elastic IP address": 1,
        "NAT gateway": 1,
        "route table": 2,
        "security group": 2,
        "endpoint": 1,
        "filesystem": 1,
        "way into a filesystem": 1,
        "encryption key": 1,
        "parameter": 1,
        "role": 2,
        "instance profile": 1,
        "function": 1,
        "state document": 1,
    }
    costs = {orphan.kind: orphan.daily for orphan in orphans}
    assert costs["NAT gateway"] == Decimal("1.08")
    assert costs["elastic IP address"] == Decimal("0.12")
    assert costs["VPC"] == 0
    assert orphans[0].kind == "NAT gateway", "dearest first"
    assert {orphan.deployment for orphan in orphans} == {world.spec.id}
    assert len({orphan.key for orphan in orphans}) == len(orphans)
    assert not any(orphan.adoptable for orphan in orphans)
    removed(world, orphans)
    called = world.cloud.fate.permissions
    asked = {action for grant in ORPHANS for action in grant.actions} - {"ec2:DeleteVolume", "ec2:DescribeVolumes"}
    assert asked - called == set(), "these are allowed for nothing"
    assert called - allowed() == set(), "these would be refused"
    left = world.there()
    for kind in ("interfaces", "mount targets"):
        left.pop(kind, None)
    assert not left
    assert found(world) == []


def test_what_stands_in_no_handle_and_what_is_gone(world: World) -> None:
    """One search over everything that must be, and must not be, listed."""
    ec2 = world.aws.administrator().client("ec2")
    far = world.aws.administrator(region="us-west-1").client("ec2")
    mine, cluster = world.spec.id, str(uuid.uuid4())
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=of_ec2("vpc", mine, "vpc"))["Vpc"]["VpcId"]
    intended = {"steps": {"vpc": {"state": "intent", "id": None, "fingerprint": "", "order": 1}}}
    assert found(world, *owned(world, intended)) == [], "it is about to be found"
    taken = {"steps": {"vpc": {"state": "ready", "id": "vpc-0another", "fingerprint": "", "order": 1}}}
    [double] = found(world, *owned(world, taken))
    assert (double.id, double.adoptable) == (vpc, False)
    [lacking] = found(world, *owned(world, {"steps": {}}))
    assert lacking.adoptable

    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    gateways = [
        ec2.create_nat_gateway(
            SubnetId=subnet,
            AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"],
            TagSpecifications=of_ec2("natgateway", mine, "nat-gateway"),
        )["NatGateway"]["NatGatewayId"]
        for _ in range(2)
    ]
    ec2.delete_nat_gateway(NatGatewayId=gateways[0])
    image = ec2.describe_images(Filters=[IMAGE])["Images"][0]["ImageId"]
    machines = [
        each["InstanceId"]
        for each in ec2.run_instances(
            ImageId=image,
            InstanceType="c6i.xlarge",
            MinCount=3,
            MaxCount=3,
            SubnetId=subnet,
            TagSpecifications=of_ec2("instance", mine, "machines", **{"portal:cluster": cluster})
            + of_ec2("volume", mine, "machines", **{"portal:cluster": cluster}),
        )["Instances"]
    ]
    ec2.terminate_instances(InstanceIds=machines[:1])
    ec2.stop_instances(InstanceIds=machines[1:2])
    disk = ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=100, VolumeType="gp3", TagSpecifications=of_ec2("volume", mine, "x")
    )["VolumeId"]
    ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp3")  # the customer's own
    address = far.allocate_address(Domain="vpc", TagSpecifications=of_ec2("elastic-ip", mine, "address"))
    template = ec2.create_launch_template(
        LaunchTemplateName="portal-x",
        LaunchTemplateData={"ImageId": image, "InstanceType": "c6i.xlarge"},
        TagSpecifications=of_ec2("launch-template", mine, "launch-template", **{"portal:cluster": cluster}),
    )["LaunchTemplate"]["LaunchTemplateId"]
    world.aws.administrator().client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="portal-x",
        LaunchTemplate={"LaunchTemplateId": template},
        MinSize=0,
        MaxSize=0,
        AvailabilityZones=[f"{REGION}a"],
        Tags=tags(mine, "scaling-group", **{"portal:cluster": cluster}),
    )
    key = (
        world.aws.administrator()
        .client("kms")
        .create_key(
            Tags=[{"TagKey": "portal:workspace", "TagValue": mine}, {"TagKey": "portal:step", "TagValue": "key"}]
        )["KeyMetadata"]["KeyId"]
    )
    world.aws.administrator().client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7)

    orphans = found(world)
    by_id = {orphan.id: orphan for orphan in orphans}
    assert set(by_id) == {
        *(vpc, gateways[1], machines[1], machines[2], disk, address["AllocationId"], template, "portal-x")
    }
    assert by_id[machines[1]].daily == 0, "it is stopped"
    assert by_id[machines[2]].daily == Decimal("0.17") * 24
    assert by_id[machines[2]].since
    assert by_id[machines[2]].deployment == cluster
    assert by_id[disk].daily == Decimal("0.2630")
    assert by_id[address["AllocationId"]].region == "us-west-1"

    running = Owned("cluster", cluster, "c", REGION, {"steps": {"scaling-group": {"id": "portal-x", "order": 1}}})
    kept = {orphan.id for orphan in found(world, running)}
    assert not kept & {machines[1], machines[2], "portal-x"}, "machines belong to the group of their cluster"
    assert template in kept
    removed(world, [orphan for orphan in orphans if orphan.kind not in {"VPC"}])
    assert [orphan.id for orphan in found(world)] == [vpc]
    called = world.cloud.fate.permissions
    assert {"ec2:DeleteVolume", "ec2:DescribeVolumes"} <= called
    assert called - allowed() == set(), "these would be refused"


def lost_vpc(world: World, workspace: str = "") -> str:
    ec2 = world.aws.administrator().client("ec2")
    specification = of_ec2("vpc", workspace or world.spec.id, "vpc")
    return str(ec2.create_vpc(CidrBlock="10.40.0.0/16", TagSpecifications=specification)["Vpc"]["VpcId"])


def test_what_lost_our_tags_is_left_alone(world: World) -> None:
    vpc = lost_vpc(world)
    [orphan] = found(world)
    ec2 = world.aws.administrator().client("ec2")
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "portal:workspace"}])
    with pytest.raises(CloudError, match="NotOurs"):
        world.cloud.remove_orphan(orphan)
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "portal:workspace", "Value": str(uuid.uuid4())}])
    with pytest.raises(CloudError, match="NotOurs"):
        world.cloud.remove_orphan(orphan)
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]


def test_what_was_removed_by_hand_is_absent(world: World) -> None:
    vpc = lost_vpc(world)
    [orphan] = found(world)
    world.aws.administrator().client("ec2").delete_vpc(VpcId=vpc)
    assert world.cloud.remove_orphan(orphan)


def test_what_another_portal_works_on_is_not_listed(world: World) -> None:
    stranger = str(uuid.uuid4())
    lost_vpc(world, stranger)
    assert len(found(world)) == 1
    store = world.cloud._store
    theirs = type(store)(store.session, store.configuration, "https://another.example.org")
    lock = theirs.take(f"workspaces/{stranger}", "theirs")
    theirs.save(lock, "workspace", "theirs", {"steps": {}})
    assert found(world) == []
    mine = Owned("workspace", stranger, "x", REGION, {"steps": {}})
    assert [orphan.kind for orphan in found(world, mine)] == ["VPC"], "a record of ours says more"


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"format": 1}'])
def test_a_state_that_cannot_be_read_hides_nothing(world: World, body: bytes) -> None:
    stranger = str(uuid.uuid4())
    lost_vpc(world, stranger)
    s3 = world.aws.administrator().client("s3")
    s3.put_object(Bucket=world.cloud.configuration.bucket, Key=f"workspaces/{stranger}/state.json", Body=body)
    s3.put_object(Bucket=world.cloud.configuration.bucket, Key=f"workspaces/{stranger}/runs/1/state.json", Body=body)
    orphans = found(world)
    assert kinds(orphans) == {"VPC": 1, "state document": 1}
    removed(world, orphans)
    assert found(world) == []
    assert s3.get_object(Bucket=world.cloud.configuration.bucket, Key=f"workspaces/{stranger}/runs/1/state.json")


def test_what_a_workspace_lacks_is_adopted_into_its_place(world: World) -> None:
    handle = world.go()
    before = dict(census(REGION))
    forgotten = {**handle, "steps": dict(handle["steps"])}
    for name in ("address", "private-subnet-b", "files-function"):
        del forgotten["steps"][name]
    orphans = {orphan.step: orphan for orphan in found(world, *owned(world, forgotten))}
    assert set(orphans) == {"address", "private-subnet-b", "files-function"}
    for step in ("private-subnet-b", "address", "files-function"):
        assert orphans[step].adoptable
        forgotten = world.cloud.adopt_orphan(orphans[step], forgotten)
    orders = {name: entry["order"] for name, entry in forgotten["steps"].items()}
    assert sorted(orders, key=lambda name: orders[name]) == sorted(
        handle["steps"], key=lambda name: handle["steps"][name]["order"]
    )
    handle = world.go(handle=forgotten)
    assert dict(census(REGION)) == before, "nothing was made anew"
    assert found(world, *owned(world, handle)) == []
    world.go(Target.TERMINATED, handle)
    assert set(world.there()) <= {"interfaces"}


def test_what_has_no_place_is_not_adopted(world: World) -> None:
    lost_vpc(world)
    [orphan] = found(world, *owned(world, {"steps": {}}))
    zones = ["us-east-2a", "us-east-2b"]
    handles: list[Handle] = [
        {"steps": {"vpc": {"id": "vpc-1", "order": 1}}, "zones": zones},
        {"steps": {}},
        {"steps": {}, "zones": []},
    ]
    for handle in handles:
        with pytest.raises(CloudError, match="NotAdoptable"):
            world.cloud.adopt_orphan(orphan, handle)
    lost_vpc(world)
    both = found(world, *owned(world, {"steps": {}}))
    refusals = 0
    for each in both:
        try:
            world.cloud.adopt_orphan(each, {"steps": {}, "zones": zones})
        except CloudError:
            refusals += 1
    assert refusals == 1, "of two, the one that the deployment would find is taken"


def test_a_refusal_says_which_permission_is_missing(world: World) -> None:
    world.aws.fail("ListRoles", "AccessDenied")
    with pytest.raises(CloudError, match="PermissionDenied") as caught:
        found(world)
    assert "iam:ListRoles" in caught.value.hint
