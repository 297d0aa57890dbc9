"""Whether a workspace can be in a network that the customer made. Looks only; changes nothing.

What is asked of it: a VPC with names, two subnets or more in different zones, none larger than /17 or smaller than /26,
one to five security groups in which machines reach each other and the world, and a way to S3 and to Systems Manager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Client, Session
from portal.clouds.base import Check, Network

LARGEST, SMALLEST = 17, 26
"""Netmasks of subnets."""

MOST_GROUPS = 5
"""Security groups that AWS allows on a network interface."""

FREE_ADDRESSES = 8
"""In each subnet: a mount target, and some machines."""

_ANYWHERE = {"0.0.0.0/0", "::/0"}


def check(session: Session, network: Network) -> list[Check]:
    """All checks, up to the first that makes the others pointless."""
    found: list[Check] = []
    ec2 = session.client("ec2")
    try:
        if _vpc(found, ec2, network):
            subnets = _subnets(found, ec2, network)
            _groups(found, ec2, network)
            _ways_out(found, ec2, network, subnets)
            _endpoints(found, session, network)
    except AwsError as error:
        found.append(Check("Network", False, error.message, error.hint))
    return found


def _add(found: list[Check], name: str, passed: bool, detail: str, hint: str) -> None:
    found.append(Check(name, passed, detail, "" if passed else hint))


def _vpc(found: list[Check], ec2: Client, network: Network) -> bool:
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [network.id]}])["Vpcs"]
    if not vpcs:
        hint = "Check its id and its region; it has to be in the account of the cloud configuration."
        found.append(Check("VPC", False, f"There is no VPC {network.id}.", hint))
        return False
    found.append(Check("VPC", True, f"{network.id} has {vpcs[0]['CidrBlock']}."))
    off = [
        attribute
        for attribute in ("enableDnsSupport", "enableDnsHostnames")
        if not ec2.describe_vpc_attribute(VpcId=network.id, Attribute=attribute)[attribute[0].upper() + attribute[1:]][
            "Value"
        ]
    ]
    detail = f"These are off: {', '.join(off)}." if off else "DNS resolution and DNS hostnames are on."
    _add(found, "DNS", not off, detail, "Edit the VPC's settings and enable DNS resolution and DNS hostnames.")
    return True


def _subnets(found: list[Check], ec2: Client, network: Network) -> list[Mapping[str, Any]]:
    subnets: list[Mapping[str, Any]] = ec2.describe_subnets(
        Filters=[{"Name": "subnet-id", "Values": list(network.subnets)}, {"Name": "vpc-id", "Values": [network.id]}]
    )["Subnets"]
    lost = sorted(set(network.subnets) - {str(each["SubnetId"]) for each in subnets})
    detail = f"Not in {network.id}: {', '.join(lost)}." if lost else f"{len(subnets)} subnets are in {network.id}."
    _add(found, "Subnets", not lost, detail, "Check their ids; all must be of this VPC.")
    zones = [str(each["AvailabilityZone"]) for each in subnets]
    detail = f"They are in {', '.join(sorted(set(zones))) or 'no zone'}."
    hint = "Choose two subnets or more, each in a zone of its own: the filesystem has one address in each zone."
    _add(found, "Zones", len(subnets) >= 2 and len(set(zones)) == len(zones), detail, hint)
    wrong = [each for each in subnets if not LARGEST <= ip_network(each["CidrBlock"]).prefixlen <= SMALLEST]
    shown = ", ".join(f"{each['SubnetId']} has {each['CidrBlock']}" for each in wrong)
    detail = f"{shown}." if wrong else f"All netmasks are from /{LARGEST} to /{SMALLEST}."
    _add(found, "Netmasks", not wrong, detail, f"Choose subnets with netmasks from /{LARGEST} to /{SMALLEST}.")
    full = [each for each in subnets if int(each["AvailableIpAddressCount"]) < FREE_ADDRESSES]
    shown = ", ".join(f"{each['SubnetId']} has {each['AvailableIpAddressCount']}" for each in full)
    detail = f"{shown} free." if full else f"Each has {FREE_ADDRESSES} free addresses or more."
    _add(found, "Free addresses", not full, detail, "Choose larger subnets, or free some addresses.")
    return subnets


def _groups(found: list[Check], ec2: Client, network: Network) -> None:
    wanted = list(network.security_groups)
    groups: list[Mapping[str, Any]] = (
        ec2.describe_security_groups(
            Filters=[{"Name": "group-id", "Values": wanted}, {"Name": "vpc-id", "Values": [network.id]}]
        )["SecurityGroups"]
        if wanted
        else []
    )
    lost = sorted(set(wanted) - {str(each["GroupId"]) for each in groups})
    detail = f"Not in {network.id}: {', '.join(lost)}." if lost else f"{len(wanted)} security groups."
    passed = not lost and 1 <= len(set(wanted)) <= MOST_GROUPS
    _add(found, "Security groups", passed, detail, f"Choose one to {MOST_GROUPS} security groups of this VPC.")
    ids = {str(each["GroupId"]) for each in groups}
    inward = any(_all_ports(rule) and _from(rule, ids) for each in groups for rule in each["IpPermissions"])
    detail = "Machines reach each other by all TCP ports." if inward else "No rule lets machines reach each other."
    hint = "Add an inbound rule: all TCP ports, from the security group itself. MPI and the filesystem need it."
    _add(found, "Rules between machines", inward, detail, hint)
    outward = any(_https(rule) for each in groups for rule in each["IpPermissionsEgress"])
    detail = "Machines reach the world by HTTPS." if outward else "No rule lets machines reach anything by HTTPS."
    hint = "Add an outbound rule: TCP port 443, to 0.0.0.0/0 or to the VPC's endpoints."
    _add(found, "Rules outward", outward, detail, hint)


def _all_ports(rule: Mapping[str, Any]) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] == "tcp" and (rule.get("FromPort"), rule.get("ToPort")) in {(0, 65535), (1, 65535)}


def _from(rule: Mapping[str, Any], ids: set[str]) -> bool:
    return any(pair.get("GroupId") in ids for pair in rule.get("UserIdGroupPairs", ()))


def _https(rule: Mapping[str, Any]) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] == "tcp" and int(rule.get("FromPort", 0)) <= 443 <= int(rule.get("ToPort", 65535))


def _ways_out(found: list[Check], ec2: Client, network: Network, subnets: Sequence[Mapping[str, Any]]) -> None:
    """Subnets without a way out are good where S3 and Systems Manager have endpoints."""
    tables: list[Mapping[str, Any]] = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network.id]}])[
        "RouteTables"
    ]
    closed = [str(each["SubnetId"]) for each in subnets if not _open(tables, str(each["SubnetId"]))]
    private = {"s3", "ssm"} <= set(network.endpoints)
    detail = "Every subnet has a way out."
    if closed:
        detail = (
            f"Without a way out: {', '.join(closed)}; S3 and Systems Manager {'have' if private else 'lack'} endpoints."
        )
    hint = "Route 0.0.0.0/0 of these subnets to a NAT gateway, or name endpoints of S3 and Systems Manager."
    _add(found, "Way out", not closed or private, detail, hint)


def _open(tables: Sequence[Mapping[str, Any]], subnet: str) -> bool:
    own = [table for table in tables if any(each.get("SubnetId") == subnet for each in table["Associations"])]
    main = [table for table in tables if any(each.get("Main") for each in table["Associations"])]
    routes = [route for table in own or main for route in table["Routes"]]
    return any(
        route.get("DestinationCidrBlock") in _ANYWHERE and route.get("State", "active") == "active" for route in routes
    )


def _endpoints(found: list[Check], session: Session, network: Network) -> None:
    services = {"s3": ".s3", "ssm": ".ssm", "platform": ""}
    for name, id in network.endpoints.items():
        items = [each for each in _endpoint(session, id) if each["VpcId"] == network.id]
        state = str(items[0]["State"]).lower() if items else "missing"
        service = str(items[0]["ServiceName"]) if items else ""
        right = state == "available" and service.endswith(services.get(name, ""))
        detail = f"{id} is {state}{f' and leads to {service}' if service else ''}."
        hint = f"Check its id: it has to be an available endpoint of {name} in {network.id}."
        _add(found, f"Endpoint {name}", right, detail, hint)


def _endpoint(session: Session, id: str) -> list[Mapping[str, Any]]:
    try:
        found: list[Mapping[str, Any]] = session.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[id])[
            "VpcEndpoints"
        ]
    except AwsError as error:
        if error.absent or error.reason.endswith(".Malformed"):
            return []
        raise
    return found
