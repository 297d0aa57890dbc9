"""A workspace in a network that the customer made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portal.clouds.base import Check, Network, Target
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.world import World, new_world


@pytest.fixture
def world(aws: Aws) -> World:
    return new_world(aws)


@pytest.fixture
def ec2(world: World) -> Any:
    return world.aws.administrator().client("ec2")


@pytest.fixture
def network(ec2: Any) -> Network:
    return good_network(ec2)


def good_network(ec2: Any) -> Network:
    """As the guide wants it, with a NAT gateway."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [subnet(ec2, vpc, f"10.0.{index}.0/24", letter) for index, letter in enumerate("ab")]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    gateway = ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    for each in subnets:
        ec2.associate_route_table(RouteTableId=table, SubnetId=each)
    return Network(vpc, subnets, [group])


def subnet(ec2: Any, vpc: str, cidr: str, letter: str) -> str:
    answer = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"{REGION}{letter}")
    return str(answer["Subnet"]["SubnetId"])


def failed(world: World, network: Network) -> dict[str, Check]:
    found = world.cloud.check_network(REGION, network)
    assert all(check.detail and (check.passed or check.hint) for check in found)
    return {check.name: check for check in found if not check.passed}


def test_a_network_as_it_should_be_passes(world: World, network: Network) -> None:
    assert failed(world, network) == {}
    names = [check.name for check in world.cloud.check_network(REGION, network)]
    assert names == [
        *("VPC", "DNS", "Subnets", "Zones", "Netmasks", "Free addresses", "Security groups"),
        *("Rules between machines", "Rules outward", "Way out"),
    ]


def test_a_workspace_in_it_makes_no_network_and_leaves_it_as_it_was(world: World, network: Network) -> None:
    before = world.there()
    world.spec = replace(world.spec, network=network)
    handle = world.go()
    made = world.there() - before
    made.pop("interfaces", None)
    assert made == {
        "filesystems": 1,
        "mount targets": 2,
        "access points": 1,
        "keys": 1,
        "aliases": 1,
        "parameters": 1,
        "roles": 2,
        "functions": 1,
        "interfaces of functions": 2,
        "profiles": 1,
    }
    efs = world.aws.administrator().client("efs")
    mounts = efs.describe_mount_targets(FileSystemId=handle["steps"]["filesystem"]["id"])["MountTargets"]
    assert {each["SubnetId"] for each in mounts} == set(network.subnets)
    groups = efs.describe_mount_target_security_groups(MountTargetId=mounts[0]["MountTargetId"])["SecurityGroups"]
    assert groups == list(network.security_groups)
    world.spec = replace(world.spec, network=None)  # somebody deleted the network configuration meanwhile
    world.go(Target.TERMINATED, handle)
    assert world.there() == before


def test_a_vpc_that_is_not_there_ends_the_questions(world: World, network: Network) -> None:
    assert list(failed(world, replace(network, id="vpc-0123456789abcdef0"))) == ["VPC"]


def test_names_have_to_be_on(world: World, network: Network, ec2: Any) -> None:
    ec2.modify_vpc_attribute(VpcId=network.id, EnableDnsHostnames={"Value": False})
    assert failed(world, network)["DNS"].detail == "These are off: enableDnsHostnames."


def test_subnets_have_to_be_of_the_vpc_and_in_different_zones(world: World, network: Network, ec2: Any) -> None:
    other = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]["SubnetId"]
    assert "Subnets" in failed(world, replace(network, subnets=[*network.subnets, other]))
    assert list(failed(world, replace(network, subnets=network.subnets[:1]))) == ["Zones"]
    twin = subnet(ec2, network.id, "10.0.9.0/24", "a")
    assert "Zones" in failed(world, replace(network, subnets=[network.subnets[0], twin]))


@pytest.mark.parametrize(("cidr", "right"), [("10.0.64.0/18", True), ("10.0.64.0/26", True), ("10.0.64.0/27", False)])
def test_netmasks(world: World, network: Network, ec2: Any, cidr: str, right: bool) -> None:
    more = replace(network, subnets=[*network.subnets, subnet(ec2, network.id, cidr, "c")])
    assert ("Netmasks" not in failed(world, more)) is right


def test_a_subnet_that_is_too_large(world: World, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    found = failed(world, Network(vpc, [subnet(ec2, vpc, "10.0.0.0/16", "a")], []))["Netmasks"]
    assert "/16" in found.detail
    assert "/17 to /26" in found.hint


def test_one_to_five_groups_of_the_vpc(world: World, network: Network, ec2: Any) -> None:
    assert "Security groups" in failed(world, replace(network, security_groups=[]))
    foreign = ec2.create_security_group(GroupName="f", Description="f")["GroupId"]
    assert foreign in failed(world, replace(network, security_groups=[foreign]))["Security groups"].detail
    many = [
        ec2.create_security_group(GroupName=f"g{index}", Description="g", VpcId=network.id)["GroupId"]
        for index in range(5)
    ]
    wanted = [*network.security_groups, *many]
    assert list(failed(world, replace(network, security_groups=wanted))) == ["Security groups"]
    assert failed(world, replace(network, security_groups=wanted[:5])) == {}


def test_rules_between_machines_and_outward(world: World, network: Network, ec2: Any) -> None:
    bare = ec2.create_security_group(GroupName="bare", Description="b", VpcId=network.id)["GroupId"]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=bare, IpPermissions=everything)
    ssh = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": bare}]}]
    ec2.authorize_security_group_ingress(GroupId=bare, IpPermissions=ssh)
    found = failed(world, replace(network, security_groups=[bare]))
    assert list(found) == ["Rules between machines", "Rules outward"]
    https = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.authorize_security_group_egress(GroupId=bare, IpPermissions=https)
    assert list(failed(world, replace(network, security_groups=[bare]))) == ["Rules between machines"]


def endpoint(ec2: Any, vpc: str, service: str) -> str:
    answer = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.{service}", VpcEndpointType="Interface"
    )
    return str(answer["VpcEndpoint"]["VpcEndpointId"])


def test_without_a_way_out_endpoints_are_needed(world: World, network: Network, ec2: Any) -> None:
    closed = replace(network, subnets=[network.subnets[0], subnet(ec2, network.id, "10.0.9.0/24", "b")])
    assert list(failed(world, closed)) == ["Way out"]
    endpoints = {name: endpoint(ec2, network.id, name) for name in ("s3", "ssm")}
    assert failed(world, replace(closed, endpoints=endpoints)) == {}
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoints["ssm"]])
    assert list(failed(world, replace(closed, endpoints=endpoints))) == ["Endpoint ssm"]
    swapped = {"s3": endpoints["s3"], "ssm": endpoints["s3"]}
    assert list(failed(world, replace(closed, endpoints=swapped))) == ["Endpoint ssm"]
    missing = {"s3": endpoints["s3"], "platform": "vpce-0123456789abcdef0"}
    assert "Endpoint platform" in failed(world, replace(closed, endpoints=missing))
