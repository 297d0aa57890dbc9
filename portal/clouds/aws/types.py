"""The machines that a region offers, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.clouds.aws.session import Session
from portal.clouds.base import InstanceType

ARCHITECTURE = "x86_64"
"""What Bodo's releases are built for."""

SMALLEST_MEMORY = 4096
"""MiB. Bodo starts with less on paper only."""


def offered(session: Session) -> list[InstanceType]:
    """The types that Bodo runs on and that the region offers, smallest first. Some 800 of 1,400; takes seconds."""
    ec2 = session.client("ec2")
    here = {
        str(offer["InstanceType"])
        for offer in ec2.pages("describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="region")
    }
    wanted = [
        {"Name": "current-generation", "Values": ["true"]},
        {"Name": "processor-info.supported-architecture", "Values": [ARCHITECTURE]},
        {"Name": "bare-metal", "Values": ["false"]},
    ]
    found = ec2.pages("describe_instance_types", "InstanceTypes", Filters=wanted)
    types = [_type(each) for each in found if each["InstanceType"] in here and _fits(each)]
    return sorted(types, key=lambda each: (each.vcpus, each.memory, each.name))


def _fits(item: Mapping[str, Any]) -> bool:
    """The filters again, because not every answer keeps to them."""
    return (
        ARCHITECTURE in item["ProcessorInfo"]["SupportedArchitectures"]
        and bool(item.get("CurrentGeneration", True))
        and not item.get("BareMetal")
        and int(item["MemoryInfo"]["SizeInMiB"]) >= SMALLEST_MEMORY
    )


def _type(item: Mapping[str, Any]) -> InstanceType:
    vcpus = int(item["VCpuInfo"]["DefaultVCpus"])
    return InstanceType(
        str(item["InstanceType"]),
        vcpus=vcpus,
        cores=int(item["VCpuInfo"].get("DefaultCores") or max(1, vcpus // 2)),
        memory=int(item["MemoryInfo"]["SizeInMiB"]),
        accelerated_networking=bool(item["NetworkInfo"].get("EfaSupported")),
    )
