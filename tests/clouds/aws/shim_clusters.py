"""What moto lacks or gets wrong of clusters.

    placement groups          made, shown and removed; one that machines use stays
    CreateAutoScalingGroup    one that is there is refused (moto overwrites it)
    launching                 machines come by the group's wish only while ``Launch`` is not suspended, as far as there
                              is ``stock`` in the zone; what fails is told by DescribeScalingActivities
    slowness                  new machines are pending for ``pending`` looks; ``hidden`` maps an operation to how many
                              looks do not show anything yet

State is that of one account and region, and goes with ``Aws.reset`` (it lives in moto's own).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from moto.backends import get_backend

from tests.clouds.aws.cloud import CORRECTIONS, CUSTOMER, REGION, Aws, Reply
from tests.clouds.aws.shim_ssm import caller

NO_STOCK = (
    "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}). Our system "
    "will be working on provisioning additional capacity. Launching EC2 instance failed."
)


@dataclass
class Region:
    """What a test can make of EC2. ``stock`` is how many machines a zone still has, without limit where none is named;
    ``refusal`` is what AWS says to a launch that fails."""

    stock: dict[str, int] = field(default_factory=dict)
    refusal: str = NO_STOCK
    pending: int = 0
    hidden: dict[str, int] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    activities: list[dict[str, str]] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=dict)


def region_of(account: str = CUSTOMER, region: str = REGION) -> Region:
    """EC2 of an account in a region."""
    backend: Any = get_backend("ec2")[account][region]
    if "portal_region" not in backend.__dict__:
        backend.portal_region = Region()
    found: Region = backend.portal_region
    return found


def correct(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """Answer what moto would not, or wrongly."""
    signed = environ.get("HTTP_AUTHORIZATION", "")
    if "/ec2/" not in signed and "/autoscaling/" not in signed:
        return None
    account, name = caller(environ)
    region = region_of(account, name)
    given = {key: values[0] for key, values in parameters.items()}
    if region.hidden.get(operation, 0) > 0:
        region.hidden[operation] -= 1
        return _nothing(operation)
    match operation:
        case "CreatePlacementGroup":
            return _create(region, given)
        case "DescribePlacementGroups":
            return _describe(region, given)
        case "DeletePlacementGroup":
            return _delete(region, given, account, name)
        case "DescribeInstances":
            _time_passes(region, account, name)
        case "CreateAutoScalingGroup" if _group(account, name, given):
            said = "AutoScalingGroup by this name already exists - A group with the name already exists"
            return _scaling_error("AlreadyExists", said)
        case "UpdateAutoScalingGroup" | "ResumeProcesses" if group := _group(account, name, given):
            return _scale(region, group, operation, given, parameters)
        case "DescribeScalingActivities":
            return _activities(region, given)
    return None


CORRECTIONS.append(correct)


def _xml(operation: str, inner: str) -> Reply:
    return f"<{operation}Response>{inner}</{operation}Response>", "text/xml", 200


def _ec2_error(code: str, message: str) -> Reply:
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    return f"<Response><Errors><Error>{inner}</Error></Errors></Response>", "text/xml", 400


def _scaling_error(code: str, message: str) -> Reply:
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    return f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>", "text/xml", 400


def _nothing(operation: str) -> Reply:
    lists = {
        "DescribeInstances": "<reservationSet/>",
        "DescribeLaunchTemplates": "<launchTemplates/>",
        "DescribePlacementGroups": "<placementGroupSet/>",
    }
    if operation in lists:
        return _xml(operation, lists[operation])
    assert operation == "DescribeAutoScalingGroups", operation
    return _xml(operation, f"<{operation}Result><AutoScalingGroups/></{operation}Result>")


def _create(region: Region, given: dict[str, str]) -> Reply:
    name = given["GroupName"]
    if name in region.groups:
        return _ec2_error("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    assert given["TagSpecification.1.ResourceType"] == "placement-group"
    tags = {
        given[key]: given[key.removesuffix("Key") + "Value"]
        for key in given
        if key.startswith("TagSpecification.1.Tag.") and key.endswith(".Key")
    }
    region.groups[name] = {"strategy": given["Strategy"], "tags": tags, "id": f"pg-{uuid.uuid4().hex[:17]}"}
    return _xml("CreatePlacementGroup", "<return>true</return>")


def _describe(region: Region, given: dict[str, str]) -> Reply:
    found = dict(region.groups)
    for number in range(1, 10):
        if f"Filter.{number}.Name" not in given:
            break
        key = given[f"Filter.{number}.Name"]
        values = [given[each] for each in given if each.startswith(f"Filter.{number}.Value.")]
        for name, group in list(found.items()):
            seen = name if key == "group-name" else group["tags"].get(key.removeprefix("tag:"))
            if seen not in values:
                del found[name]
    items = "".join(
        f"<item><groupName>{name}</groupName><groupId>{group['id']}</groupId><state>available</state>"
        f"<strategy>{group['strategy']}</strategy></item>"
        for name, group in found.items()
    )
    return _xml("DescribePlacementGroups", f"<placementGroupSet>{items}</placementGroupSet>")


def _delete(region: Region, given: dict[str, str], account: str, name: str) -> Reply:
    if given["GroupName"] not in region.groups:
        return _ec2_error("InvalidPlacementGroup.Unknown", "The Placement Group is unknown.")
    if any(each.state not in {"terminated"} for each in _instances(account, name)):
        return _ec2_error("InvalidPlacementGroup.InUse", "The placement group is in use and may not be deleted.")
    del region.groups[given["GroupName"]]
    return _xml("DeletePlacementGroup", "<return>true</return>")


def lose(instance: str, state: str = "terminated", account: str = CUSTOMER, region: str = REGION) -> None:
    """A machine goes without anybody's wish. Moto would replace it, whatever was suspended."""
    found = next(each for each in _instances(account, region) if each.id == instance)
    found._state.name, found._state.code = state, {"terminated": 48, "stopped": 80}[state]


def _instances(account: str, region: str) -> list[Any]:
    backend: Any = get_backend("ec2")[account][region]
    return [instance for reservation in list(backend.reservations.values()) for instance in reservation.instances]


def _time_passes(region: Region, account: str, name: str) -> None:
    for instance in _instances(account, name):
        left = region.looks.get(instance.id, 0)
        if left and instance.state == "pending":
            region.looks[instance.id] = left - 1
            if left == 1:
                instance._state.name, instance._state.code = "running", 16


def _group(account: str, region: str, given: dict[str, str]) -> Any:
    backend: Any = get_backend("autoscaling")[account][region]
    return backend.autoscaling_groups.get(given.get("AutoScalingGroupName"))


def _scale(region: Region, group: Any, operation: str, given: dict[str, str], all_: dict[str, list[str]]) -> Reply:
    suspended = {each["ProcessName"] for each in group.suspended_processes}
    if operation == "UpdateAutoScalingGroup":
        wanted, most = int(given["DesiredCapacity"]), int(given["MaxSize"])
        if wanted > most:
            return _scaling_error("ValidationError", "Desired capacity must be between min size and max size.")
        group.desired_capacity, group.max_size = wanted, most
    else:
        resumed = {values[0] for key, values in all_.items() if key.startswith("ScalingProcesses.")}
        suspended -= resumed
        group.suspended_processes = sorted(suspended)
    if "Launch" not in suspended:
        launch(region, group)
    return _xml(operation, "<ResponseMetadata/>")


def launch(region: Region, group: Any) -> None:
    """What the group still lacks, as far as there is stock."""
    lacking = group.desired_capacity - len(group.active_instances())
    zone = group.availability_zones[0]
    number = min(lacking, region.stock.get(zone, lacking))
    if number > 0:
        before = {state.instance.id for state in group.instance_states}
        group.replace_autoscaling_group_instances(number, group.get_propagated_tags())
        for state in group.instance_states:
            if state.instance.id not in before and region.pending:
                state.instance._state.name, state.instance._state.code = "pending", 0
                region.looks[state.instance.id] = region.pending
        if zone in region.stock:
            region.stock[zone] -= number
    if number < lacking:
        said = region.refusal.format(type=group.instance_type, zone=zone)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        region.activities.insert(0, {"group": group.name, "StatusCode": "Failed", "StatusMessage": said, "at": now})


def _activities(region: Region, given: dict[str, str]) -> Reply:
    members = "".join(
        f"<member><ActivityId>{uuid.uuid4()}</ActivityId><AutoScalingGroupName>{each['group']}</AutoScalingGroupName>"
        f"<Cause>a change of capacity</Cause><StartTime>{each['at']}</StartTime>"
        f"<StatusCode>{each['StatusCode']}</StatusCode>"
        f"<StatusMessage>{escape(each['StatusMessage'])}</StatusMessage></member>"
        for each in region.activities
        if each["group"] == given["AutoScalingGroupName"]
    )
    inner = f"<DescribeScalingActivitiesResult><Activities>{members}</Activities></DescribeScalingActivitiesResult>"
    return _xml("DescribeScalingActivities", inner)
