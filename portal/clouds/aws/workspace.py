"""The plan of a workspace's deployment: which steps, in which order.

network          VPC, internet gateway, subnets, security groups            (unless the customer brings it)
role of the file function, and its interfaces: what waits for Lambda in a removal is only what costs nothing
address          of the gateway                                             (unless the customer brings it)
key              encrypts what follows
gateway and filesystem side by side, because both take minutes
ways out         routes, endpoint of S3                                     (unless the customer brings it)
mount targets    one in each zone, side by side
access point, file function, key of the machines, their role, their profile
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from portal.clouds.aws import network
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.function import FilesRole, Function, Interfaces
from portal.clouds.aws.identity import NodeProfile, NodeRole
from portal.clouds.aws.resources import Work
from portal.clouds.aws.session import Session
from portal.clouds.aws.storage import AccessPoint, Filesystem, Key, MountTarget, SshKey
from portal.clouds.base import CloudError, Handle, Network, WorkspaceSpec
from portal.clouds.plan import PlanStep


def wanted(work: Work, configuration: Configuration, zones: Sequence[str], own: Network | None) -> list[PlanStep]:
    """All steps of a workspace that runs."""
    gateway: list[PlanStep] = [] if own else [network.NatGateway(work)]
    return [
        *([] if own else network.steps(work, zones)),
        *(FilesRole(work, configuration), Interfaces(work)),
        *([] if own else [network.Address(work)]),
        Key(work),
        *gateway,
        Filesystem(work),
        *([] if own else network.ways_out(work, zones)),
        *_mount_targets(work, zones, own),
        AccessPoint(work),
        Function(work, configuration, *_where(work, zones, own)),
        SshKey(work),
        NodeRole(work, configuration),
        NodeProfile(work),
    ]


def known(work: Work, configuration: Configuration) -> list[PlanStep]:
    """Every step that stands in the ledger, for removing it. Needs neither zones nor the customer's network."""
    every: list[PlanStep] = [
        *network.steps(work, ["", "", ""]),
        *network.ways_out(work, []),
        *(network.Address(work), Key(work), network.NatGateway(work), Filesystem(work), AccessPoint(work)),
        *(FilesRole(work, configuration), Interfaces(work), Function(work, configuration, [], [])),
        *(SshKey(work), NodeRole(work, configuration), NodeProfile(work)),
    ]
    for name, entry in work.ledger.items():
        if name.startswith("mount-target-"):
            every.append(MountTarget(work, name.removeprefix("mount-target-"), str(entry["fingerprint"]), []))
    return every


def zones_of(session: Session) -> list[str]:
    """The zones where a workspace can be: not local zones, not those that take nothing new."""
    found = session.client("ec2").describe_availability_zones(
        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}, {"Name": "state", "Values": ["available"]}]
    )
    return sorted(str(zone["ZoneName"]) for zone in found["AvailabilityZones"])


def choose_zones(session: Session) -> list[str]:
    """The zones of a new workspace. Raises CloudError(TooFewZones)."""
    zones = zones_of(session)[: network.ZONES]
    if len(zones) < 2:
        message = f"AWS offers {len(zones)} zones in {session.region}."
        raise CloudError("TooFewZones", message, "A workspace needs two: choose another region.", permanent=True)
    return zones


def work_of(session: Session, spec: WorkspaceSpec, handle: Handle) -> Work:
    """The deployment of a workspace, as far as the handle knows it."""
    return Work(session, checked_id(spec.id), spec.name, handle.get("steps", {}))


def checked_id(id: str) -> str:
    """An id that can be part of names. Raises CloudError(InvalidId)."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,50}", id):
        raise CloudError("InvalidId", f"{id!r} cannot be part of a name.", permanent=True)
    return id


def _mount_targets(work: Work, zones: Sequence[str], own: Network | None) -> list[PlanStep]:
    """One in each zone: of the customer's subnets, the first of each zone that the handle remembers."""
    if own:
        return [
            MountTarget(work, network.letter(index), subnet, list(own.security_groups))
            for index, subnet in enumerate(own.subnets)
        ]
    group = str(work.ledger.get("files-group", {}).get("id") or "")
    subnets = _where(work, zones, own)[0]
    return [MountTarget(work, network.letter(index), subnet, [group]) for index, subnet in enumerate(subnets)]


def _where(work: Work, zones: Sequence[str], own: Network | None) -> tuple[list[str], list[str]]:
    """The subnets and the security groups of the machines, as far as they are there."""
    if own:
        return list(own.subnets), list(own.security_groups)
    names = [f"private-subnet-{network.letter(index)}" for index in range(len(zones))]
    subnets = [str(work.ledger.get(name, {}).get("id") or "") for name in names]
    return subnets, [str(work.ledger.get("nodes-group", {}).get("id") or "")]
