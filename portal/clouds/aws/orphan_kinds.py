"""The kinds of things that carry our tags: how each is looked at, what it costs, how it is removed.

Most are removed by the step that makes them. Here are the others, and what a thing needs that lost its deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from portal.clouds.aws import network, prices
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.function import FilesRole, Function, Interfaces
from portal.clouds.aws.identity import NodeProfile
from portal.clouds.aws.resources import Ec2Resource, Resource, Work
from portal.clouds.aws.session import Session
from portal.clouds.aws.storage import AccessPoint, Filesystem, Key, SshKey
from portal.clouds.base import Event

Seen = Mapping[str, Any]
_GIB = Decimal(2**30)
_LEAVING = {"deleting", "deleted", "shutting-down", "terminated", "failed"}
_STATES = ("State", "LifeCycleState", "Status")
_BIRTHS = ("LaunchTime", "CreateTime", "CreationTime", "CreateDate", "CreatedTime", "CreationDate")


class Instance(Ec2Resource):
    """A machine."""

    name, label = "machines", "machine"
    key = "InstanceId"

    def look(self, id: str) -> Seen | None:
        """As EC2 describes it; one that goes is gone."""
        filters = [{"Name": "instance-id", "Values": [id]}]
        for reservation in self.ec2.describe_instances(Filters=filters)["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] not in {"shutting-down", "terminated"}:
                    found: Seen = instance
                    return found
        return None

    def remove(self, id: str, seen: Seen) -> None:
        """Terminate it, with its disks."""
        self.ec2.terminate_instances(InstanceIds=[id])


class Volume(Ec2Resource):
    """A disk. One that hangs on a machine goes with it."""

    name, label = "machines", "disk"
    describe, listed, key, id_filter = "describe_volumes", "Volumes", "VolumeId", "volume-id"

    def look(self, id: str) -> Seen | None:
        """As EC2 describes it, unless it hangs on a machine."""
        seen = super().look(id)
        return None if seen is None or seen["State"] != "available" else seen

    def remove(self, id: str, seen: Seen) -> None:
        """Delete it."""
        self.ec2.delete_volume(VolumeId=id)


class LaunchTemplate(Ec2Resource):
    """A launch template. It has no filter for its id."""

    name, label, key = "launch-template", "launch template", "LaunchTemplateId"

    def look(self, id: str) -> Seen | None:
        """As EC2 describes it."""
        return _asked(lambda: self.ec2.describe_launch_templates(LaunchTemplateIds=[id])["LaunchTemplates"])

    def remove(self, id: str, seen: Seen) -> None:
        """Delete it with its versions."""
        self.ec2.delete_launch_template(LaunchTemplateId=id)


class PlacementGroup(Ec2Resource):
    """A placement group, found by its id and deleted by its name."""

    name, label, key = "placement-group", "placement group", "GroupId"

    def look(self, id: str) -> Seen | None:
        """As EC2 describes it."""
        return _asked(lambda: self.ec2.describe_placement_groups(GroupIds=[id])["PlacementGroups"])

    def remove(self, id: str, seen: Seen) -> None:
        """Delete it."""
        self.ec2.delete_placement_group(GroupName=seen["GroupName"])


class ScalingGroup(Resource):
    """An Auto Scaling group, with its machines."""

    name, label = "scaling-group", "Auto Scaling group"

    def look(self, id: str) -> Seen | None:
        """As Auto Scaling describes it."""
        found = self.work.session.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[id])
        groups: list[Seen] = found["AutoScalingGroups"]
        return groups[0] if groups else None

    def remove(self, id: str, seen: Seen) -> None:
        """Delete it, once."""
        if "delet" not in str(seen.get("Status", "")).lower():
            self.work.session.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName=id, ForceDelete=True)


class LoneFilesystem(Filesystem):
    """A filesystem whose addresses, which have no tags, go before it."""

    def remove(self, id: str, seen: Seen) -> None:
        """Its addresses, and once they are gone itself."""
        efs = self.work.session.client("efs")
        targets = efs.describe_mount_targets(FileSystemId=id)["MountTargets"]
        for each in targets:
            if each["LifeCycleState"] not in {"deleting", "deleted"}:
                efs.delete_mount_target(MountTargetId=each["MountTargetId"])
        if not targets:
            super().remove(id, seen)


class LoneRole(FilesRole):
    """A role. That of a file function goes last of all: without it, Lambda could not remove its network interfaces."""

    def delete(self, id: str | None) -> bool | Event:
        """Once the function and its interfaces are gone, if it is that role."""
        if id == self.role and self.look(id) is not None:
            function = Function(self.work, self.configuration, [], [])
            if function.find() is not None or Interfaces(self.work).delete(None) is not True:
                return False
        return super().delete(id)


class StateDocument(Resource):
    """The state of a deployment that is nowhere else, in the customer's bucket."""

    name, label = "state", "state document"

    def __init__(self, work: Work, configuration: Configuration) -> None:
        super().__init__(work)
        self.where = {"Bucket": configuration.bucket, "ExpectedBucketOwner": configuration.account}

    def look(self, id: str) -> Seen | None:
        """Whether it is there."""
        found = self.work.session.client("s3").list_objects_v2(**self.where, Prefix=id, MaxKeys=1)
        items: list[Seen] = [each for each in found.get("Contents", ()) if each["Key"] == id]
        return items[0] if items else None

    def remove(self, id: str, seen: Seen) -> None:
        """Delete it. Old versions stay in the bucket's history."""
        self.work.session.client("s3").delete_object(**self.where, Key=id)


@dataclass(frozen=True)
class Kind:
    """A kind of thing: what people call it, the step that looks at it and removes it, its line in the price table."""

    label: str
    step: Callable[[Work, Configuration], Resource]
    price: str


KINDS: dict[str, Kind] = {
    "vpc": Kind("VPC", lambda work, _: network.Vpc(work), "vpc"),
    "subnet": Kind("subnet", lambda work, _: network.Subnet(work, "private", 0, ""), "subnet"),
    "igw": Kind("internet gateway", lambda work, _: network.InternetGateway(work), "internet-gateway"),
    "eipalloc": Kind("elastic IP address", lambda work, _: network.Address(work), "address"),
    "nat": Kind("NAT gateway", lambda work, _: network.NatGateway(work), "nat-gateway"),
    "rtb": Kind("route table", lambda work, _: network.PrivateRoutes(work, 0), "route-table"),
    "sg": Kind("security group", lambda work, _: network.NodesGroup(work), "security-group"),
    "vpce": Kind("endpoint", lambda work, _: network.S3Endpoint(work), "vpc-endpoint"),
    "i": Kind("machine", lambda work, _: Instance(work), "instance"),
    "vol": Kind("disk", lambda work, _: Volume(work), "volume"),
    "lt": Kind("launch template", lambda work, _: LaunchTemplate(work), "launch-template"),
    "pg": Kind("placement group", lambda work, _: PlacementGroup(work), "placement-group"),
    "asg": Kind("Auto Scaling group", lambda work, _: ScalingGroup(work), "autoscaling-group"),
    "fs": Kind("filesystem", lambda work, _: LoneFilesystem(work), "filesystem"),
    "fsap": Kind("way into a filesystem", lambda work, _: AccessPoint(work), "access-point"),
    "key": Kind("encryption key", lambda work, _: Key(work), "key"),
    "parameter": Kind("parameter", lambda work, _: SshKey(work), "parameter"),
    "role": Kind("role", LoneRole, "role"),
    "profile": Kind("instance profile", lambda work, _: NodeProfile(work), "instance-profile"),
    "function": Kind("function", lambda work, configuration: Function(work, configuration, [], []), "function"),
    "state": Kind("state document", StateDocument, "state-document"),
}
"""By what EC2's ids begin with, and by names of ours for the rest."""

EVERYWHERE = {"role", "profile"}
"""What has no region."""


def leaving(seen: Seen) -> bool:
    """Whether it is on its way out, or is still shown for a while after it went."""
    states = [seen.get(key) for key in _STATES]
    names = [state.get("Name") if isinstance(state, Mapping) else state for state in states]
    return any(str(name).lower() in _LEAVING for name in names)


def born(seen: Seen) -> datetime | None:
    """When it was made, where AWS says."""
    found = (seen.get(key) for key in _BIRTHS)
    return next((each for each in found if isinstance(each, datetime)), None)


def cost(session: Session, kind: str, seen: Seen) -> Decimal | None:
    """US dollars for a day, by list prices."""
    region = session.region
    if kind == "i":
        if seen["State"]["Name"] in {"stopped", "stopping"}:
            return Decimal(0)  # its disks have their own price
        spot = seen.get("InstanceLifecycle") == "spot"
        price = prices.hourly(session, region, str(seen["InstanceType"]), spot)
        return None if price is None else price * prices.HOURS_A_DAY
    if kind == "vol":
        return prices.daily(f"volume-{seen['VolumeType']}", region, Decimal(seen["Size"]))
    if kind == "fs":
        return prices.daily("filesystem", region, Decimal(seen["SizeInBytes"]["Value"]) / _GIB)
    return prices.daily(KINDS[kind].price, region)


def tags_of(session: Session, kind: str, id: str) -> dict[str, str]:
    """The tags of one thing, asked of its own service; none where it is absent."""
    try:
        return _tags_of(session, kind, id)
    except AwsError as error:
        if error.absent:
            return {}
        raise


def _tags_of(session: Session, kind: str, id: str) -> dict[str, str]:
    match kind:
        case "fs":
            return pairs(session.client("efs").describe_file_systems(FileSystemId=id)["FileSystems"][0]["Tags"])
        case "fsap":
            return pairs(session.client("efs").describe_access_points(AccessPointId=id)["AccessPoints"][0]["Tags"])
        case "key":
            return pairs(session.client("kms").list_resource_tags(KeyId=id)["Tags"], "TagKey", "TagValue")
        case "parameter":
            answer = session.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=id)
            return pairs(answer["TagList"])
        case "role":
            return pairs(session.client("iam").get_role(RoleName=id)["Role"].get("Tags", ()))
        case "profile":
            found = session.client("iam").get_instance_profile(InstanceProfileName=id)["InstanceProfile"]
            return pairs(found.get("Tags", ()))
        case "function":
            return dict(session.client("lambda").list_tags(Resource=id)["Tags"])
        case "asg":
            filters = [{"Name": "auto-scaling-group", "Values": [id]}]
            return pairs(session.client("autoscaling").describe_tags(Filters=filters)["Tags"])
        case _:
            filters = [{"Name": "resource-id", "Values": [id]}]
            return pairs(session.client("ec2").describe_tags(Filters=filters)["Tags"])


def pairs(tags: Any, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Tags as a dictionary."""
    return {str(each[key]): str(each[value]) for each in tags}


def _asked(ask: Callable[[], list[Seen]]) -> Seen | None:
    try:
        found = ask()
    except AwsError as error:
        if error.absent:
            return None
        raise
    return found[0] if found else None
