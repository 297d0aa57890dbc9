"""Systems Manager's side of machines, which moto lacks: which of them are there, and what commands do on them.

    DescribeInstanceInformation   machines that run and were not made ``silent``; filters by id, tag and tag key
    SendCommand                   to machines that are there; what is sent is really run, by the test's own ``execute``
    ListCommandInvocations        how it went, after ``late`` looks at which it is still under way

State is that of one account and region, and goes with ``Aws.reset`` (it lives in moto's own).
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from moto.backends import get_backend

from tests.clouds.aws.cloud import CORRECTIONS, CUSTOMER, REGION, Aws, Reply

JSON = "application/x-amz-json-1.1"
PAGE = 50
MOST_INSTANCES = 50
"""Machines that SendCommand takes by their ids (Systems Manager API Reference, SendCommand)."""

SHOWN = 2500
"""Characters of output that an invocation shows (API Reference, CommandPlugin)."""

Execute = Callable[[str, Sequence[str]], tuple[int, str]]
"""Runs the lines of a command as one machine; exit code and output."""


def nothing(instance: str, lines: Sequence[str]) -> tuple[int, str]:
    """A machine on which every command succeeds without doing anything."""
    return 0, ""


@dataclass
class Invocation:
    """One command on one machine. ``looks`` is how often it is still to be seen under way."""

    command: str
    instance: str
    lines: list[str]
    status: str
    output: str
    looks: int
    requested: float = field(default_factory=time.time)


@dataclass
class Machines:
    """What a test can make of the machines of an account in a region. ``silent`` are those that are not heard of;
    ``lost`` maps a machine to the seconds since it was; ``hidden`` is how many looks do not yet show what was sent."""

    execute: Execute = nothing
    silent: set[str] = field(default_factory=set)
    lost: dict[str, float] = field(default_factory=dict)
    all_silent: bool = False
    late: int = 0
    hidden: int = 0
    sent: list[Invocation] = field(default_factory=list)


def machines(account: str = CUSTOMER, region: str = REGION) -> Machines:
    """The machines of an account in a region, as Systems Manager has them."""
    backend: Any = get_backend("ssm")[account][region]
    if "portal_machines" not in backend.__dict__:
        backend.portal_machines = Machines()
    found: Machines = backend.portal_machines
    return found


def caller(environ: dict[str, Any]) -> tuple[str, str]:
    """Account and region of a call, by its signature."""
    from moto.iam.models import get_account_id_from

    signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (get_account_id_from(signed[1]), signed[2]) if signed else (CUSTOMER, REGION)


def running_instances(account: str, region: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The machines that run, with their tags."""
    backend: Any = get_backend("ec2")[account][region]
    for reservation in list(backend.reservations.values()):
        for instance in reservation.instances:
            if instance.state == "running":
                yield instance.id, {tag["key"]: tag["value"] for tag in instance.get_tags()}


def correct(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """Answer what is Systems Manager's."""
    answers = {
        "DescribeInstanceInformation": _information,
        "SendCommand": _send,
        "ListCommandInvocations": _invocations,
    }
    if operation not in answers or not environ.get("HTTP_X_AMZ_TARGET", "").startswith("AmazonSSM."):
        return None
    account, region = caller(environ)
    return answers[operation](json.loads(parameters["body"][0]), account, region)


CORRECTIONS.append(correct)


def _answer(content: dict[str, Any]) -> Reply:
    return json.dumps(content), JSON, 200


def _refusal(code: str, message: str = "") -> Reply:
    return json.dumps({"__type": code, "message": message}), JSON, 400


def _there(account: str, region: str) -> dict[str, dict[str, str]]:
    state = machines(account, region)
    if state.all_silent:
        return {}
    return {id: tags for id, tags in running_instances(account, region) if id not in state.silent}


def _information(asked: dict[str, Any], account: str, region: str) -> Reply:
    state = machines(account, region)
    found = []
    for id, tags in _there(account, region).items():
        if all(_matches(each["Key"], each["Values"], id, tags) for each in asked.get("Filters", [])):
            ago = state.lost.get(id, 0.0)
            status = "ConnectionLost" if ago else "Online"
            found.append({"InstanceId": id, "PingStatus": status, "LastPingDateTime": time.time() - ago})
    first = int(asked.get("NextToken") or 0)
    size = min(int(asked.get("MaxResults") or PAGE), PAGE)
    more = {"NextToken": str(first + size)} if len(found) > first + size else {}
    return _answer({"InstanceInformationList": found[first : first + size], **more})


def _matches(key: str, values: list[str], id: str, tags: dict[str, str]) -> bool:
    if key == "InstanceIds":
        return id in values
    if key == "tag-key":
        return any(value in tags for value in values)
    if key.startswith("tag:"):
        return tags.get(key.removeprefix("tag:")) in values
    raise AssertionError(f"the shim knows no filter {key}")


def _send(asked: dict[str, Any], account: str, region: str) -> Reply:
    state = machines(account, region)
    wanted = asked.get("InstanceIds", [])
    if asked["DocumentName"] != "AWS-RunShellScript":
        return _refusal("InvalidDocument")
    if not 1 <= len(wanted) <= MOST_INSTANCES or not set(wanted) <= set(_there(account, region)):
        return _refusal("InvalidInstanceId", f"Instances {wanted} not in a valid state for account {account}")
    command = str(uuid.uuid4())
    for instance in wanted:
        lines = asked["Parameters"]["commands"]
        code, output = state.execute(instance, lines)
        status = "Success" if code == 0 else "Failed"
        state.sent.append(Invocation(command, instance, lines, status, output[:SHOWN], state.late))
    sent = {"CommandId": command, "DocumentName": asked["DocumentName"], "Status": "Pending", "InstanceIds": wanted}
    return _answer({"Command": sent})


def _invocations(asked: dict[str, Any], account: str, region: str) -> Reply:
    state = machines(account, region)
    if state.hidden:
        state.hidden -= 1
        return _answer({"CommandInvocations": []})
    found = [each for each in state.sent if asked.get("CommandId") in (None, each.command)]
    found = [each for each in found if asked.get("InstanceId") in (None, each.instance)]
    first = int(asked.get("NextToken") or 0)
    size = min(int(asked.get("MaxResults") or PAGE), PAGE)
    shown = [_shown(each, details=bool(asked.get("Details"))) for each in found[first : first + size]]
    more = {"NextToken": str(first + size)} if len(found) > first + size else {}
    return _answer({"CommandInvocations": shown, **more})


def _shown(each: Invocation, *, details: bool) -> dict[str, Any]:
    status, output = each.status, each.output
    if each.looks:
        each.looks -= 1
        status, output = "InProgress", ""
    plugin = {"Name": "aws:runShellScript", "Status": status, "Output": output}
    return {
        "CommandId": each.command,
        "InstanceId": each.instance,
        "DocumentName": "AWS-RunShellScript",
        "Status": status,
        "StatusDetails": status,
        "RequestedDateTime": each.requested,
        "CommandPlugins": [plugin] if details else [],
    }
