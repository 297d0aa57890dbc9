"""A workspace that is there, and a cluster to be in it."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from moto.backends import get_backend

from portal.clouds.base import ClusterSpec, Handle, Step, Target, WorkspaceSpec
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws, connected
from tests.clouds.aws.shim_clusters import region_of
from tests.clouds.aws.world import MortalCloud, World, census

ZONES = ["us-east-2a", "us-east-2b", "us-east-2c"]
PLAIN, TOGETHER = "t3.large", "c6i.32xlarge"
"""A type without placement groups, and one with them and EFA."""


@dataclass
class ClusterWorld(World):
    """One cluster to be. ``handle_of_workspace`` is as if the workspace had been deployed."""

    handle_of_workspace: Handle = field(default_factory=dict)
    instance_type: str = TOGETHER
    instances: int = 2
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> ClusterSpec:
        """As it is wanted now."""
        plain = ClusterSpec(
            self.id, "Analysis", self.spec, self.handle_of_workspace, self.instance_type, self.instances, "2026.10"
        )
        return replace(plain, **self.more)

    def advance(self, handle: Handle, target: Target = Target.RUNNING) -> Step:
        """One step, with the handle stored as PostgreSQL gives it back."""
        step = self.cloud.advance_cluster(self.cluster, handle, target)
        stored: Handle = json.loads(json.dumps(step.handle, sort_keys=True))
        return Step(stored, step.outcome, step.events)

    def there(self) -> Counter[str]:
        """What there is more than before the cluster."""
        return cluster_census() - self.empty


def cluster_census(account: str = CUSTOMER, region: str = REGION) -> Counter[str]:
    """Everything that clusters are made of, as moto itself knows it, beside what workspaces are."""
    ec2: Any = get_backend("ec2")[account][region]
    kms: Any = get_backend("kms")[account][region]
    scaling: Any = get_backend("autoscaling")[account][region]
    found = Counter(census(region, account))
    del found["interfaces"], found["roles"], found["parameters"]  # of machines that are gone, and AWS's own
    instances = [each for reservation in ec2.reservations.values() for each in reservation.instances]
    found["machines"] = sum(each.state not in {"terminated"} for each in instances)
    found["running"] = sum(each.state == "running" for each in instances)
    found["stopped"] = sum(each.state == "stopped" for each in instances)
    found["volumes"] = len(ec2.volumes)
    found["launch templates"] = len(ec2.launch_templates)
    found["scaling groups"] = len(scaling.autoscaling_groups)
    found["placement groups"] = len(region_of(account, region).groups)
    found["grants"] = sum(len(key.grants) for key in kms.keys.values())
    return found


def new_cluster_world(aws: Aws, **more: Any) -> ClusterWorld:
    cloud = MortalCloud(connected(aws), aws.address)
    spec = WorkspaceSpec(str(uuid.uuid4()), "Analytics", REGION)
    world = ClusterWorld(aws, cloud, spec, handle_of_workspace=deployed_workspace(aws), **more)
    world.empty = cluster_census()
    return world


def deployed_workspace(aws: Aws) -> Handle:
    """What a cluster needs of a workspace, without the rest."""
    session = aws.administrator()
    ec2 = session.client("ec2")
    subnets = {each["AvailabilityZone"]: each for each in ec2.describe_subnets()["Subnets"]}
    group = ec2.create_security_group(GroupName="nodes", Description="x", VpcId=subnets[ZONES[0]]["VpcId"])
    session.client("iam").create_instance_profile(InstanceProfileName="portal-w", Path="/portal/")
    ids = {
        "key": session.client("kms").create_key()["KeyMetadata"]["KeyId"],
        "nodes-group": group["GroupId"],
        "node-profile": "portal-w",
        "filesystem": "fs-0123456789abcdef0",
        "access-point": "fsap-0123456789abcdef0",
        "ssh-key": "/portal/w/ssh-key",
        **{f"private-subnet-{letter}": subnets[zone]["SubnetId"] for letter, zone in zip("abc", ZONES, strict=True)},
    }
    return {"zones": ZONES, "steps": {name: {"state": "ready", "id": id} for name, id in ids.items()}}
