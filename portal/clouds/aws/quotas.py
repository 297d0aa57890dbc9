"""Limits of an account, by the codes of AWS's Service Quotas, and how much of each is used.

The codes are those of the Service Quotas console and of the AWS General Reference, "Amazon EC2 endpoints and quotas"
and "Amazon VPC endpoints and quotas". Quotas of machines count vCPUs, of On-Demand and of spot apart, for families of
types together (Amazon EC2 User Guide, "Amazon EC2 instance type quotas"). Never seen on a real account.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session
from portal.clouds.base import Check


@dataclass(frozen=True)
class Quota:
    """A limit, and how much of it something to be made needs."""

    name: str
    service: str
    code: str
    needed: int
    used: Callable[[Session], int]


@dataclass(frozen=True)
class Family:
    """Types of machines that share a limit, by the letters with which they begin: one code for On-Demand and one for
    spot, which not all have."""

    name: str
    letters: frozenset[str]
    on_demand: str
    spot: str


def _family(name: str, letters: str, on_demand: str, spot: str = "") -> Family:
    return Family(name, frozenset(letters.split()), on_demand, spot)


FAMILIES = (
    _family("Standard (A, C, D, H, I, M, R, T, Z)", "a c d h i im is m r t z", "L-1216C47A", "L-34B43A08"),
    _family("G and VT", "g gr vt", "L-DB2E81BA", "L-3819A6DF"),
    _family("P", "p", "L-417A185B", "L-7212CCBC"),
    _family("X", "x", "L-7295265B", "L-E3A00192"),
    _family("F", "f", "L-74FC7D96", "L-88CF9481"),
    _family("Inf", "inf", "L-1945791B", "L-B5D1601B"),
    _family("Trn", "trn", "L-2C3B7624", "L-6B0D517C"),
    _family("DL", "dl", "L-6E869C2A", "L-85EED4F7"),
    _family("High Memory", "u", "L-43DA4232"),
    _family("HPC", "hpc", "L-F7808C92"),
)
MOST_TYPES = 100
"""How many types EC2 describes at once."""

SPOT_OF_P5 = "L-C4BD4855"
"""Spot of P5 is counted by itself."""


def workspace_quotas(zone: str) -> tuple[Quota, ...]:
    """What a workspace in a network of its own takes, with its NAT gateway in a zone."""
    return (
        Quota("VPCs", "vpc", "L-F678F1CE", 1, lambda s: _count(s, "describe_vpcs", "Vpcs")),
        Quota("Elastic IPs", "ec2", "L-0263D0A3", 1, lambda s: len(s.client("ec2").describe_addresses()["Addresses"])),
        Quota(
            "Internet gateways",
            "vpc",
            "L-A4707A72",
            1,
            lambda s: _count(s, "describe_internet_gateways", "InternetGateways"),
        ),
        Quota(f"NAT gateways in {zone}", "vpc", "L-FE5A380F", 1, lambda s: _gateways_in(s, zone)),
    )


def machines_quota(instance_type: str, vcpus: int, *, spot: bool, without: str = "") -> Quota | None:
    """What ``vcpus`` more of a type take; None for a family that is not known, or that has no spot. Machines that the
    cluster ``without`` has already do not count."""
    family = family_of(instance_type)
    code = _code(family, instance_type, spot) if family else ""
    if not family or not code:
        return None
    kind = "spot requests" if spot else "On-Demand instances"
    return Quota(
        f"vCPUs of {family.name} {kind}",
        "ec2",
        code,
        vcpus,
        lambda session: _vcpus(session, family, code, without, spot=spot),
    )


def family_of(instance_type: str) -> Family | None:
    """The family with which a type shares its limit."""
    found = re.match(r"[a-z]+", instance_type)
    return next((family for family in FAMILIES if found and found[0] in family.letters), None)


def check_quota(session: Session, quota: Quota) -> Check:
    """Whether there is enough left. A quota that AWS does not tell keeps nobody from anything: making it will tell."""
    name = f"Quota: {quota.name}"
    try:
        answer = session.client("service-quotas").get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
        limit, used = int(answer["Quota"]["Value"]), quota.used(session)
    except AwsError as error:
        return Check(name, True, f"AWS does not say ({error.message})", "Look under Service Quotas.")
    detail = f"{limit} allowed, {used} used, {quota.needed} needed."
    passed = limit - used >= quota.needed
    hint = f"Ask AWS for more in its console under Service Quotas (code {quota.code}), or remove something."
    return Check(name, passed, detail, "" if passed else hint)


def _code(family: Family, instance_type: str, spot: bool) -> str:
    if not spot:
        return family.on_demand
    return SPOT_OF_P5 if instance_type.startswith("p5") else family.spot


def _vcpus(session: Session, family: Family, code: str, without: str, *, spot: bool) -> int:
    """The vCPUs of machines that run or are about to, as their types have them. Stopped ones do not count."""
    ec2 = session.client("ec2")
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    ours = {"Key": "portal:cluster", "Value": without}
    count: Counter[str] = Counter()
    for reservation in ec2.pages("describe_instances", "Reservations", Filters=running):
        for each in reservation["Instances"]:
            type_ = str(each["InstanceType"])
            same = family_of(type_) is family and _code(family, type_, spot) == code
            if same and (each.get("InstanceLifecycle") == "spot") is spot and ours not in each.get("Tags", ()):
                count[type_] += 1
    if not count:
        return 0
    types = ec2.pages("describe_instance_types", "InstanceTypes", InstanceTypes=sorted(count)[:MOST_TYPES])
    return sum(count[str(each["InstanceType"])] * int(each["VCpuInfo"]["DefaultVCpus"]) for each in types)


def _count(session: Session, call: str, key: str) -> int:
    return len(list(session.client("ec2").pages(call, key)))


def _gateways_in(session: Session, zone: str) -> int:
    ec2 = session.client("ec2")
    alive = [{"Name": "state", "Values": ["pending", "available"]}]
    gateways = list(ec2.pages("describe_nat_gateways", "NatGateways", Filters=alive))
    subnets = {
        str(each["SubnetId"])
        for each in ec2.pages("describe_subnets", "Subnets", Filters=[{"Name": "availability-zone", "Values": [zone]}])
    }
    return sum(str(each["SubnetId"]) in subnets for each in gateways)
