"""Where and of what a cluster's machines are made: decided once, before the first of them, and kept in the handle, so
that machines that come later are like those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.clouds.aws import bootstrap
from portal.clouds.aws.network import letter
from portal.clouds.aws.resources import CLUSTER_TAG, Ec2Resource, Work, in_tags
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError, ClusterSpec, Event, Pending

IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
"""The newest image of Amazon Linux 2023 (its user guide, "AL2023 on Amazon EC2")."""

MOST_TAGS = 40
"""AWS takes 50, ours among them."""


@dataclass(frozen=True)
class ClusterWork(Work):
    """The deployment of a cluster. ``id`` is the workspace's uuid, ``cluster`` ours, ``custom`` the customer's tags.
    ``poll`` is how many seconds to wait for something that is under way."""

    cluster: str = ""
    poll: float = 1.0
    custom: Mapping[str, str] = field(default_factory=dict)

    def tags(self, step: str) -> dict[str, str]:
        """The customer's, then ours."""
        return {**self.custom, **super().tags(step), CLUSTER_TAG: self.cluster}

    def filters(self, step: str) -> list[dict[str, Any]]:
        """What EC2 finds a step's thing by."""
        return [*super().filters(step), {"Name": f"tag:{CLUSTER_TAG}", "Values": [self.cluster]}]

    @property
    def title_in_aws(self) -> str:
        """The name of what has a name."""
        return f"portal-{self.cluster}"


class PlacementGroup(Ec2Resource):
    """Machines side by side, for what they say to each other. It costs nothing."""

    name, label, group = "placement-group", "placement group", "placement-group"
    kind, describe, listed = "placement-group", "describe_placement_groups", "PlacementGroups"
    key, id_filter = "GroupName", "group-name"
    work: ClusterWork

    def alive(self, item: Mapping[str, Any]) -> bool:
        """Deleted ones are shown for a while."""
        return item["State"] in {"pending", "available"}

    def create(self) -> str:
        """Make it."""
        self.ec2.create_placement_group(GroupName=self.work.title_in_aws, Strategy="cluster", **self.tagged)
        return self.work.title_in_aws

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        return bool(self.seen(id)["State"] == "available")

    def look(self, id: str) -> Mapping[str, Any] | None:
        """One that is deleted is gone."""
        seen = super().look(id)
        return None if seen is None or seen["State"] == "deleted" else seen

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it, once."""
        if seen["State"] != "deleting":
            self.ec2.delete_placement_group(GroupName=id)


def like(made_of: Mapping[str, Any] | None, spec: ClusterSpec) -> bool:
    """Whether machines as they were decided upon are those that the spec asks for."""
    return bool(made_of) and all(made_of[key] == value for key, value in _asked(spec).items())  # type: ignore[index]


def decide(session: Session, spec: ClusterSpec) -> dict[str, Any]:
    """What the machines are to be made of, and the places where they can be, in the order in which to try them."""
    type_ = _type(session, spec.instance_type)
    efa = bool(type_["NetworkInfo"].get("EfaSupported"))
    together = "cluster" in type_.get("PlacementGroupInfo", {}).get("SupportedStrategies", ())
    vcpus = type_["VCpuInfo"]
    return {
        **_asked(spec),
        "image": str(session.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]),
        "software": bootstrap.digest_of(spec.release),
        "cores": int(vcpus.get("DefaultCores") or max(1, int(vcpus["DefaultVCpus"]) // 2)),
        "efa": efa,
        "placement": together and (efa or spec.instances > 1),
        "groups": _groups(spec),
        "key": _made(spec, "key"),
        "filesystem": _made(spec, "filesystem"),
        "access_point": _made(spec, "access-point"),
        "ssh_key": _made(spec, "ssh-key"),
        "places": _places(session, spec),
    }


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The customer's tags as every service of AWS takes them."""
    kept = {in_tags(key)[:128]: in_tags(value)[:256] for key, value in tags.items()}
    ours = ("aws:", "portal:")
    return dict([(key, value) for key, value in kept.items() if key and not key.lower().startswith(ours)][:MOST_TAGS])


def _asked(spec: ClusterSpec) -> dict[str, Any]:
    """What a person chose: where it differs, machines are replaced."""
    return {
        "instance_type": spec.instance_type,
        "release": spec.release,
        "spot": spec.spot,
        "generation": spec.generation,
        "zone": spec.zone,
        "profile": _profile(spec),
    }


def _profile(spec: ClusterSpec) -> str:
    if spec.instance_role:
        found = spec.instance_role.get("steps", {}).get("profile", {}).get("id")
        if not found:
            hint = "Wait until it is Active, or choose another one."
            raise CloudError("InstanceRoleNotReady", "The instance role is not ready.", hint, permanent=True)
        return str(found)
    return _made(spec, "node-profile")


def _made(spec: ClusterSpec, step: str) -> str:
    """The id of what the workspace made."""
    entry = spec.workspace_handle.get("steps", {}).get(step)
    if not entry or not entry["id"]:
        message = f"The workspace has no {step.replace('-', ' ')}."
        raise CloudError("WorkspaceNotReady", message, "Wait until the workspace is READY.", permanent=True)
    return str(entry["id"])


def _groups(spec: ClusterSpec) -> list[str]:
    if spec.workspace.network:
        return list(spec.workspace.network.security_groups)
    return [_made(spec, "nodes-group")]


def _type(session: Session, name: str) -> Mapping[str, Any]:
    found: Sequence[Mapping[str, Any]] = session.client("ec2").describe_instance_types(
        Filters=[{"Name": "instance-type", "Values": [name]}]
    )["InstanceTypes"]
    exact = [each for each in found if each["InstanceType"] == name]
    if not exact:
        message = f"AWS has no {name} in {session.region}."
        raise CloudError("InstanceTypeUnknown", message, "Choose another instance type.", permanent=True)
    return exact[0]


def _places(session: Session, spec: ClusterSpec) -> list[dict[str, str]]:
    """Zone and subnet, for each zone of the workspace that has such machines at all."""
    everywhere = _subnets(session, spec)
    offered = {
        str(each["Location"])
        for each in session.client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [spec.instance_type]}]
        )["InstanceTypeOfferings"]
    }
    zones = ", ".join(place["zone"] for place in everywhere)
    if spec.zone and spec.zone not in {place["zone"] for place in everywhere}:
        message = f"The workspace has no network in {spec.zone}."
        raise CloudError("ZoneNotInWorkspace", message, f"Choose one of {zones}, or Auto.", permanent=True)
    found = [place for place in everywhere if place["zone"] in offered and spec.zone in ("", place["zone"])]
    if not found:
        message = f"AWS does not offer {spec.instance_type} in {spec.zone or zones}."
        has = ", ".join(place["zone"] for place in everywhere if place["zone"] in offered)
        hint = f"Choose {has} or Auto." if has else "Choose another instance type."
        raise CloudError("InstanceTypeNotOffered", message, hint, permanent=True)
    return found


def _subnets(session: Session, spec: ClusterSpec) -> list[dict[str, str]]:
    network = spec.workspace.network
    if network is None:
        zones = spec.workspace_handle.get("zones", [])
        return [
            {"zone": str(zone), "subnet": _made(spec, f"private-subnet-{letter(index)}")}
            for index, zone in enumerate(zones)
        ]
    found = session.client("ec2").describe_subnets(Filters=[{"Name": "subnet-id", "Values": list(network.subnets)}])
    zone_of = {str(each["SubnetId"]): str(each["AvailabilityZone"]) for each in found["Subnets"]}
    return [{"zone": zone_of[subnet], "subnet": subnet} for subnet in network.subnets if subnet in zone_of]
