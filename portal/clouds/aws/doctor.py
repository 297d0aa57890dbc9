"""The launch doctor: whether a workspace or a cluster can be made now, before anything is. Looks only; changes nothing.

What AWS does not answer stops nobody: such a check passes and says so. Making the thing will tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from portal.clouds.aws import own_network, prices, workspace
from portal.clouds.aws.checks import Found, check_node_policy, lacking
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.permissions import GRANTS
from portal.clouds.aws.quotas import check_quota, machines_quota, workspace_quotas
from portal.clouds.aws.session import Session, assume
from portal.clouds.base import Check, CloudError, ClusterSpec, WorkspaceSpec

FOR_WORKSPACE = {"ec2:CreateVpc", "ec2:CreateTags", "elasticfilesystem:CreateFileSystem", "kms:CreateKey"} | {
    *("iam:CreateRole", "iam:AttachRolePolicy", "iam:PassRole", "ssm:PutParameter"),
}
FOR_CLUSTER = {"ec2:CreateLaunchTemplate", "ec2:RunInstances", "autoscaling:CreateAutoScalingGroup"} | {
    *("ec2:CreateTags", "iam:PassRole", "ssm:SendCommand"),
}
"""Without these nothing comes of it. VALIDATE asks for all."""


def check_workspace(session: Session, configuration: Configuration, spec: WorkspaceSpec) -> list[Check]:
    """All checks of a workspace to be, up to the first that makes the others pointless."""
    found = Found()
    if not _role(found, session, configuration):
        return found.checks
    if spec.network:
        found.checks += own_network.check(session, spec.network)
    else:
        zones = _zones(found, session)
        if not zones:
            return found.checks
        found.checks += [check_quota(session, quota) for quota in workspace_quotas(zones[0])]
    check_node_policy(found, session, configuration)
    _permissions(found, session, configuration, FOR_WORKSPACE)
    kinds = ["key"] if spec.network else ["key", "nat-gateway", "address"]
    daily = sum((prices.daily(kind, spec.region) or Decimal(0) for kind in kinds), Decimal(0))
    detail = f"By AWS's list prices ${daily:.2f} a day while it stands, and $0.30 or more a month for each GB in it."
    found.add("Price", True, detail)
    return found.checks


def check_cluster(session: Session, configuration: Configuration, spec: ClusterSpec) -> list[Check]:
    """All checks of a cluster to be, up to the first that makes the others pointless."""
    found = Found()
    if not _role(found, session, configuration):
        return found.checks
    type_ = _type(found, session, spec)
    if not type_:
        return found.checks
    _places(found, session, spec)
    vcpus = int(type_["VCpuInfo"]["DefaultVCpus"]) * spec.instances
    quota = machines_quota(spec.instance_type, vcpus, spot=spec.spot, without=spec.id)
    if quota:
        found.checks.append(check_quota(session, quota))
    _permissions(found, session, configuration, FOR_CLUSTER)
    _price(found, session, spec)
    return found.checks


def _role(found: Found, session: Session, configuration: Configuration) -> bool:
    def lend() -> object:
        return assume(configuration.role, session.region, session.endpoint)

    return found.ask("Role", lend, f"AWS lends {configuration.role_arn} to this portal.")


def _zones(found: Found, session: Session) -> list[str]:
    try:
        zones = workspace.choose_zones(session)
    except CloudError as error:
        found.add("Zones", False, error.message, error.hint)
        return []
    found.add("Zones", True, f"It will be in {', '.join(zones)}.")
    return zones


def _type(found: Found, session: Session, spec: ClusterSpec) -> Mapping[str, Any]:
    """The type as EC2 describes it, with a check; empty where it cannot be used."""
    wanted = [{"Name": "instance-type", "Values": [spec.instance_type]}]
    try:
        types = session.client("ec2").describe_instance_types(Filters=wanted)["InstanceTypes"]
    except AwsError as error:
        found.add("Instance type", False, error.message, error.hint)
        return {}
    if not types:
        hint = "Choose another instance type, or make the cluster in a workspace in another region."
        found.add("Instance type", False, f"{session.region} does not offer {spec.instance_type}.", hint)
        return {}
    type_: Mapping[str, Any] = types[0]
    usages = type_.get("SupportedUsageClasses", ["on-demand", "spot"])
    if spec.spot and "spot" not in usages:
        hint = "Switch spot off, or choose another instance type."
        found.add("Instance type", False, f"AWS has no spot instances of {spec.instance_type}.", hint)
        return {}
    found.add("Instance type", True, f"{spec.instance_type} has {type_['VCpuInfo']['DefaultVCpus']} vCPUs.")
    return type_


def _places(found: Found, session: Session, spec: ClusterSpec) -> None:
    """Where the machines can be: all of them are in one subnet, and so in one zone."""
    try:
        subnets = _subnets(session, spec)
        offers = session.client("ec2").pages(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [spec.instance_type]}],
        )
        offered = {str(each["Location"]) for each in offers if each["InstanceType"] == spec.instance_type}
    except AwsError as error:
        found.add("Zone", True, f"AWS does not say ({error.message})")
        return
    there = sorted({str(each["AvailabilityZone"]) for each in subnets})
    wanted = [zone for zone in there if spec.zone in {"", zone}]
    places = [zone for zone in wanted if zone in offered]
    if not places:
        where = f"in {spec.zone or ' or '.join(there) or 'any zone of the workspace'}"
        other = [zone for zone in there if zone in offered]
        hint = f"Choose {' or '.join(other)}." if other else "Choose another instance type."
        found.add("Zone", False, f"{spec.instance_type} cannot be had {where}.", hint)
        return
    found.add("Zone", True, f"{spec.instance_type} is offered in {', '.join(places)}.")
    free = {
        str(each["SubnetId"]): int(each["AvailableIpAddressCount"])
        for each in subnets
        if each["AvailabilityZone"] in places
    }
    shown = ", ".join(f"{subnet} has {count}" for subnet, count in sorted(free.items()))
    detail = f"{shown} free; {_counted(spec.instances, 'machine')} in one subnet."
    hint = "Use fewer machines, or remove clusters from the subnet; a network of your own can have larger subnets."
    found.add("Free addresses", max(free.values()) >= spec.instances, detail, hint)


def _subnets(session: Session, spec: ClusterSpec) -> list[Mapping[str, Any]]:
    """The subnets of the workspace that are for machines, as EC2 describes them."""
    steps = spec.workspace_handle.get("steps", {})
    ours = [str(entry["id"]) for name, entry in steps.items() if name.startswith("private-subnet-") and entry["id"]]
    ids = list(spec.workspace.network.subnets) if spec.workspace.network else ours
    return list(
        session.client("ec2").pages("describe_subnets", "Subnets", Filters=[{"Name": "subnet-id", "Values": ids}])
    )


def _permissions(found: Found, session: Session, configuration: Configuration, actions: Iterable[str]) -> None:
    grants = [grant for grant in GRANTS if set(grant.actions) & set(actions)]
    try:
        missing = sorted({each for grant in lacking(session, configuration, grants).values() for each in grant})
    except AwsError as error:
        found.add("Permissions", True, f"AWS does not say ({error.message})")
        return
    detail = f"Missing: {', '.join(missing)}." if missing else "The role may do what this needs."
    found.add("Permissions", not missing, detail, "Validate the cloud configuration: it says what to do.")


def _price(found: Found, session: Session, spec: ClusterSpec) -> None:
    listed = prices.hourly(session, session.region, spec.instance_type, spot=False)
    if not spec.spot:
        found.add("Price", True, _said(listed, spec.instances, "On demand"))
        return
    try:
        current = prices.spot_price(session, spec.instance_type)
    except AwsError as error:
        found.add("Price", True, f"AWS does not say ({error.message})")
        return
    if current is None:
        hint = "Switch spot off, or choose another instance type."
        found.add("Price", False, f"There is no spot price of {spec.instance_type} in {session.region}.", hint)
        return
    compared = f" On demand they are ${listed * spec.instances:.2f}." if listed else ""
    found.add("Price", True, _said(current, spec.instances, "As spot instances, now,") + compared)


def _said(price: Decimal | None, instances: int, how: str) -> str:
    """AWS's share of the cost; ours is on the page beside it."""
    if price is None:
        return "AWS does not say what it asks for these machines."
    each = f", ${price.normalize():f} for each" if instances > 1 else ""
    return f"{how} AWS asks ${price * instances:.2f} an hour{each}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s are' if number != 1 else ' is'}"
