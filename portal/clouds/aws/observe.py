"""How machines look from outside: for all clusters of an account in a region one list of machines, and one of those
that Systems Manager hears of. Neither grows with the number of clusters but by pages (1,000 and 50 machines each)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from portal.clouds.aws.resources import CLUSTER_TAG
from portal.clouds.aws.session import Session
from portal.clouds.base import Handle, Health, Node, Observation

SILENT = timedelta(minutes=15)
"""The agent of Systems Manager is heard of every five minutes (Systems Manager User Guide, "Working with SSM Agent"):
three times missed is lost, once is a busy machine."""

Instance = Mapping[str, Any]


def observe(session: Session, handles: Sequence[Handle], now: datetime | None = None) -> list[Observation]:
    """What is there of each cluster, in the order of the handles."""
    now = now or datetime.now(UTC)
    wanted = {handle["cluster"] for handle in handles if "cluster" in handle}
    instances: dict[str, dict[str, Instance]] = defaultdict(dict)
    tagged = [{"Name": "tag-key", "Values": [CLUSTER_TAG]}]
    ec2 = session.client("ec2")
    for reservation in ec2.pages("describe_instances", "Reservations", Filters=tagged, PaginationConfig=_BIG):
        for instance in reservation["Instances"]:
            cluster = next((tag["Value"] for tag in instance.get("Tags", ()) if tag["Key"] == CLUSTER_TAG), "")
            if cluster in wanted:
                instances[cluster][str(instance["InstanceId"])] = instance
    heard: dict[str, Mapping[str, Any]] = {}
    if instances:
        found = session.client("ssm").pages(
            "describe_instance_information",
            "InstanceInformationList",
            Filters=[{"Key": "tag-key", "Values": [CLUSTER_TAG]}],
            PaginationConfig={"PageSize": 50},
        )
        heard = {str(each["InstanceId"]): each for each in found}
    return [_observation(handle, instances.get(handle.get("cluster", ""), {}), heard, now) for handle in handles]


_BIG = {"PageSize": 1000}


def _observation(
    handle: Handle, instances: Mapping[str, Instance], heard: Mapping[str, Mapping[str, Any]], now: datetime
) -> Observation:
    """The machines that should be there; before these are known, those that are coming."""
    nodes: Sequence[Mapping[str, str]] = handle.get("nodes") or [
        {"id": id, "address": str(each.get("PrivateIpAddress", ""))}
        for id, each in sorted(instances.items())
        if each["State"]["Name"] in {"pending", "running"}
    ]
    prepared = handle.get("steps", {}).get("preparation", {}).get("state") == "ready"
    found = []
    for index, node in enumerate(nodes):
        instance, said = instances.get(node["id"]), heard.get(node["id"])
        health = _health(instance, said, now, prepared=prepared)
        found.append(Node(index, node["id"], node["address"], health, said["LastPingDateTime"] if said else None))
    return Observation(found)


def _health(instance: Instance | None, said: Mapping[str, Any] | None, now: datetime, *, prepared: bool) -> Health:
    """Gone, stopped by hand, interrupted or silent for long is lost."""
    state = instance["State"]["Name"] if instance else "absent"
    if state not in {"pending", "running"}:
        return Health.LOST
    if said is None:
        # A machine that was prepared was heard of: Systems Manager forgets only what is gone, or did not ask yet.
        launched = instance["LaunchTime"] if instance else now
        return Health.LOST if prepared and now - launched > SILENT else Health.STARTING
    if said["PingStatus"] != "Online" and now - said["LastPingDateTime"] > SILENT:
        return Health.LOST
    return Health.HEALTHY if prepared else Health.STARTING
