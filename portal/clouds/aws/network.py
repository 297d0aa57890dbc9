"""The network of a workspace, where the customer brings none.

    10.40.0.0/16   VPC
      .0.0/24 …    public subnets, one in each zone: the NAT gateway is in the first
      .64.0/18 …   private subnets, one in each zone: all machines are here

Machines have no public addresses. They reach the world through the NAT gateway, S3 by an endpoint of their own (which
costs nothing), and each other by every port: MPI chooses its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.resources import AGAIN, Ec2Resource, Work
from portal.clouds.base import CloudError, Event, Pending
from portal.clouds.plan import PlanStep

CIDR = "10.40.0.0/16"
ZONES = 3
"""How many zones to use at most: more zones, more places to look for machines. Two are the least."""

ANYWHERE = "0.0.0.0/0"


def steps(work: Work, zones: Sequence[str]) -> list[PlanStep]:
    """All of the network that costs nothing; the address, the gateway and ``ways_out`` come later."""
    made: list[PlanStep] = [Vpc(work), InternetGateway(work)]
    made += [Subnet(work, "public", index, zone) for index, zone in enumerate(zones)]
    made += [Subnet(work, "private", index, zone) for index, zone in enumerate(zones)]
    return [*made, NodesGroup(work), FilesGroup(work)]


def ways_out(work: Work, zones: Sequence[str]) -> list[PlanStep]:
    """Routes, and the endpoint that hangs on them."""
    return [PublicRoutes(work, len(zones)), PrivateRoutes(work, len(zones)), S3Endpoint(work)]


def letter(index: int) -> str:
    """Zones are counted with letters."""
    return "abcdef"[index]


class Vpc(Ec2Resource):
    """The VPC, with names for its machines."""

    name, label, group = "vpc", "VPC", "vpc"
    kind, describe, listed, key, id_filter = "vpc", "describe_vpcs", "Vpcs", "VpcId", "vpc-id"
    fingerprint = CIDR

    def create(self) -> str:
        """Make it."""
        return str(self.ec2.create_vpc(CidrBlock=CIDR, **self.tagged)["Vpc"]["VpcId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available and gives its machines names, which EFS and endpoints need."""
        if self.seen(id)["State"] != "available":
            return False
        named = self.ec2.describe_vpc_attribute(VpcId=id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]
        if named["Value"]:
            return True
        self.ec2.modify_vpc_attribute(VpcId=id, EnableDnsHostnames={"Value": True})
        return AGAIN

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it."""
        self.ec2.delete_vpc(VpcId=id)


class InternetGateway(Ec2Resource):
    """The door of the public subnets."""

    name, label, group = "internet-gateway", "internet gateway", "internet-gateway"
    kind, describe, listed = "internet-gateway", "describe_internet_gateways", "InternetGateways"
    key, id_filter = "InternetGatewayId", "internet-gateway-id"

    def create(self) -> str:
        """Make it."""
        return str(self.ec2.create_internet_gateway(**self.tagged)["InternetGateway"]["InternetGatewayId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is attached."""
        attachments = self.seen(id)["Attachments"]
        if attachments:
            return attachments[0]["State"] in {"available", "attached"}
        self.ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=self.work("vpc"))
        return AGAIN

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Detach, then delete."""
        for attachment in seen["Attachments"]:
            self.ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=attachment["VpcId"])
        self.ec2.delete_internet_gateway(InternetGatewayId=id)


class Subnet(Ec2Resource):
    """One subnet in one zone."""

    group = "subnets"
    kind, describe, listed, key, id_filter = "subnet", "describe_subnets", "Subnets", "SubnetId", "subnet-id"

    def __init__(self, work: Work, side: str, index: int, zone: str) -> None:
        super().__init__(work)
        self.zone = zone
        self.cidr = f"10.40.{index}.0/24" if side == "public" else f"10.40.{64 * (index + 1)}.0/18"
        self.name = f"{side}-subnet-{letter(index)}"
        self.label = f"{side} subnet in {zone}" if zone else f"{side} subnet {letter(index)}"
        self.fingerprint = f"{zone} {self.cidr}"

    def create(self) -> str:
        """Make it."""
        arguments = {"VpcId": self.work("vpc"), "CidrBlock": self.cidr, "AvailabilityZone": self.zone}
        return str(self.ec2.create_subnet(**arguments, **self.tagged)["Subnet"]["SubnetId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        return bool(self.seen(id)["State"] == "available")

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it."""
        self.ec2.delete_subnet(SubnetId=id)


class Address(Ec2Resource):
    """The public address that the workspace's machines are seen with."""

    name, label, group = "address", "elastic IP address", "address"
    kind, describe, listed = "elastic-ip", "describe_addresses", "Addresses"
    key, id_filter = "AllocationId", "allocation-id"

    def create(self) -> str:
        """Make it."""
        return str(self.ec2.allocate_address(Domain="vpc", **self.tagged)["AllocationId"])

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Give it back."""
        self.ec2.release_address(AllocationId=id)


class NatGateway(Ec2Resource):
    """The door of the private subnets. Takes some minutes to come and to go."""

    name, label, group = "nat-gateway", "NAT gateway", "gateway-and-filesystem"
    kind, describe, listed, key = "natgateway", "describe_nat_gateways", "NatGateways", "NatGatewayId"
    id_filter, filter_argument = "nat-gateway-id", "Filter"

    def alive(self, item: Mapping[str, Any]) -> bool:
        """Deleted ones are shown for an hour."""
        return item["State"] in {"pending", "available"}

    def create(self) -> str:
        """Make it in the first public subnet."""
        arguments = {"SubnetId": self.work("public-subnet-a"), "AllocationId": self.work("address")}
        return str(self.ec2.create_nat_gateway(**arguments, **self.tagged)["NatGateway"]["NatGatewayId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        seen = self.seen(id)
        if seen["State"] not in {"pending", "available"}:
            message = str(seen.get("FailureMessage") or f"The NAT gateway is {seen['State']}.")
            hint = "Delete the workspace and create it again; if it fails again, look at the account's quotas."
            raise CloudError("NatGatewayFailed", message, hint, permanent=True)
        return bool(seen["State"] == "available")

    def look(self, id: str) -> Mapping[str, Any] | None:
        """One that is deleted is gone."""
        seen = super().look(id)
        return None if seen is None or seen["State"] == "deleted" else seen

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it, once."""
        if seen["State"] != "deleting":
            self.ec2.delete_nat_gateway(NatGatewayId=id)


class _Routes(Ec2Resource):
    """A route table with one way out, for all subnets of one side."""

    side: str
    kind, describe, listed = "route-table", "describe_route_tables", "RouteTables"
    key, id_filter = "RouteTableId", "route-table-id"

    def __init__(self, work: Work, zones: int) -> None:
        super().__init__(work)
        self.zones = zones

    def way_out(self) -> dict[str, str]:
        """Where everything goes that is for elsewhere."""
        raise NotImplementedError

    def create(self) -> str:
        """Make it."""
        return str(self.ec2.create_route_table(VpcId=self.work("vpc"), **self.tagged)["RouteTable"]["RouteTableId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it has its way out and all subnets; one is added at a time."""
        seen = self.seen(id)
        if not any(route.get("DestinationCidrBlock") == ANYWHERE for route in seen["Routes"]):
            self.ec2.create_route(RouteTableId=id, DestinationCidrBlock=ANYWHERE, **self.way_out())
            return AGAIN
        there = {each.get("SubnetId") for each in seen["Associations"]}
        for index in range(self.zones):
            subnet = self.work(f"{self.side}-subnet-{letter(index)}")
            if subnet not in there:
                self.ec2.associate_route_table(RouteTableId=id, SubnetId=subnet)
                return AGAIN
        return True

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Take the subnets off it first."""
        for each in seen["Associations"]:
            if not each.get("Main"):
                self.ec2.disassociate_route_table(AssociationId=each["RouteTableAssociationId"])
        self.ec2.delete_route_table(RouteTableId=id)


class PublicRoutes(_Routes):
    """Out through the internet gateway."""

    name, label, group, side = "public-routes", "routes of the public subnets", "public-routes", "public"

    def way_out(self) -> dict[str, str]:
        """The internet gateway."""
        return {"GatewayId": self.work("internet-gateway")}


class PrivateRoutes(_Routes):
    """Out through the NAT gateway."""

    name, label, group, side = "private-routes", "routes of the private subnets", "private-routes", "private"

    def way_out(self) -> dict[str, str]:
        """The NAT gateway."""
        return {"NatGatewayId": self.work("nat-gateway")}


class S3Endpoint(Ec2Resource):
    """S3 without the NAT gateway: data of jobs would cost by the gigabyte there."""

    name, label, group = "s3-endpoint", "endpoint of S3", "endpoints"
    kind, describe, listed = "vpc-endpoint", "describe_vpc_endpoints", "VpcEndpoints"
    key, id_filter = "VpcEndpointId", "vpc-endpoint-id"

    def alive(self, item: Mapping[str, Any]) -> bool:
        """Deleted ones are shown for a while."""
        return str(item["State"]).lower() not in {"deleting", "deleted", "failed", "rejected", "expired"}

    def create(self) -> str:
        """Make it on the private routes."""
        answer = self.ec2.create_vpc_endpoint(
            VpcId=self.work("vpc"),
            VpcEndpointType="Gateway",
            ServiceName=f"com.amazonaws.{self.work.session.region}.s3",
            RouteTableIds=[self.work("private-routes")],
            **self.tagged,
        )
        return str(answer["VpcEndpoint"]["VpcEndpointId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        return str(self.seen(id)["State"]).lower() == "available"

    def look(self, id: str) -> Mapping[str, Any] | None:
        """One that is deleted is gone."""
        try:
            seen: Mapping[str, Any] = self.ec2.describe_vpc_endpoints(VpcEndpointIds=[id])["VpcEndpoints"][0]
        except AwsError as error:
            if error.absent:
                return None
            raise
        return None if str(seen["State"]).lower() == "deleted" else seen

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it, once."""
        if str(seen["State"]).lower() != "deleting":
            self.ec2.delete_vpc_endpoints(VpcEndpointIds=[id])


class _Group(Ec2Resource):
    """A security group."""

    describes: str
    kind, describe, listed = "security-group", "describe_security_groups", "SecurityGroups"
    key, id_filter = "GroupId", "group-id"

    def create(self) -> str:
        """Make it."""
        arguments = {"GroupName": f"bodo-{self.work.id}-{self.name}", "Description": self.describes}
        return str(self.ec2.create_security_group(VpcId=self.work("vpc"), **arguments, **self.tagged)["GroupId"])

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it with its rules."""
        self.ec2.delete_security_group(GroupId=id)


class NodesGroup(_Group):
    """Machines of a workspace reach each other by every port, and the world. EFA needs both rules to be said."""

    name, label, group = "nodes-group", "security group of the machines", "nodes-group"
    describes = "Machines of a Bodo workspace"

    def ready(self, id: str) -> bool | Pending | Event:
        """Once both rules are there."""
        seen = self.seen(id)
        rule = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id}]}]
        if not _allows(seen["IpPermissions"], id):
            self.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=rule)
            return AGAIN
        if not _allows(seen["IpPermissionsEgress"], id):
            self.ec2.authorize_security_group_egress(GroupId=id, IpPermissions=rule)
            return AGAIN
        return True


class FilesGroup(_Group):
    """Only machines of the workspace reach its filesystem, and only by NFS."""

    name, label, group = "files-group", "security group of the filesystem", "files-group"
    describes = "Shared filesystem of a Bodo workspace"

    def ready(self, id: str) -> bool | Pending | Event:
        """Once the rule is there."""
        nodes = self.work("nodes-group")
        if _allows(self.seen(id)["IpPermissions"], nodes):
            return True
        rule = {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [{"GroupId": nodes}]}
        self.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[rule])
        return AGAIN


def _allows(rules: Sequence[Mapping[str, Any]], group: str) -> bool:
    return any(pair.get("GroupId") == group for rule in rules for pair in rule.get("UserIdGroupPairs", ()))
