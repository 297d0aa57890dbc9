"""The function of a workspace: the way to its files while no machine runs. It costs nothing while nobody asks.

AWS Lambda connects it with the network by interfaces that it makes and removes itself, with the function's role, up to
40 minutes after the function is gone (AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an
Amazon VPC"). So the role outlives them: role and interfaces come first in the plan, the function late, and a removal
has everything that costs money behind it when it waits for them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.files_handler import ROOT
from portal.clouds.aws.identity import PATH, PortalRole
from portal.clouds.aws.node_policy import FUNCTION_STEP
from portal.clouds.aws.resources import AGAIN, Resource, Work, vanished
from portal.clouds.base import CloudError, Event, Pending

MEMORY = 512
"""MiB. Lambda gives a share of a processor with it; a call holds a piece of 4 MiB three times over."""

TIMEOUT = 15
"""Seconds. The handler ends by itself long before."""

_FOLDER = Path(__file__).parents[3]
_FILES = (
    *("portal/clouds/base.py", "portal/clouds/local/files.py", "portal/clouds/local/trees.py"),
    "portal/clouds/aws/files_handler.py",
)
_PACKAGES = ("portal", "portal/clouds", "portal/clouds/local", "portal/clouds/aws")
_ROLE_UNKNOWN = ("cannot be assumed", "does not have permissions", "execution role")


def function_name(workspace: str) -> str:
    """How the function of a workspace is called."""
    return f"portal-{workspace}"


@cache
def code() -> bytes:
    """What is to run, as a ZIP archive that is the same wherever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for package in _PACKAGES:
            _put(archive, f"{package}/__init__.py", b"")
        for file in _FILES:
            _put(archive, file, (_FOLDER / file).read_bytes())
    return buffer.getvalue()


def digest() -> str:
    """What Lambda calls ``CodeSha256``."""
    return base64.b64encode(hashlib.sha256(code()).digest()).decode()


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    archive.writestr(entry, data)


class FilesRole(PortalRole):
    """The role of the function, with which Lambda connects it."""

    name, label, group = FUNCTION_STEP, "role of the file function", FUNCTION_STEP
    service, about, suffix = "lambda.amazonaws.com", "File function of a Bodo workspace", "-files"


class Interfaces(Resource):
    """What Lambda makes in the network, and takes away. Nothing is done here but waiting for the latter.

    Lambda shares them among all functions in the same subnets and security groups: in a network of the customer's own
    there may be others, and then they stay.
    """

    name, label, group = "files-interfaces", "network interfaces of the file function", "files-interfaces"

    def find(self) -> str | None:
        """There is nothing to make."""
        return function_name(self.work.id)

    def delete(self, id: str | None) -> bool | Event:
        """Once Lambda has taken them away."""
        wanted = [{"Name": "description", "Values": [f"AWS Lambda VPC ENI-{function_name(self.work.id)}*"]}]
        ec2 = self.work.session.client("ec2")
        left = ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
        if all(self._shared(each) for each in left):
            return True
        message = (
            f"AWS Lambda still has {len(left)} network interfaces here, which only it can remove: it takes up to 40 "
            "minutes. Everything that costs money is gone; subnets, security groups and VPC follow by themselves"
        )
        return Event(self.name, message, progress=0.9)

    def _shared(self, interface: Mapping[str, Any]) -> bool:
        groups = {str(each["GroupId"]) for each in interface["Groups"]}
        for each in self.work.session.client("lambda").pages("list_functions", "Functions"):
            there = each.get("VpcConfig") or {}
            same = set(there.get("SecurityGroupIds", ())) == groups and interface["SubnetId"] in there["SubnetIds"]
            if same and each["FunctionName"] != function_name(self.work.id):
                return True
        return False


class Function(Resource):
    """The function itself, in the machines' subnets and security groups."""

    name, label, group = "files-function", "file function", "files-function"

    def __init__(self, work: Work, configuration: Configuration, subnets: Sequence[str], groups: Sequence[str]) -> None:
        super().__init__(work)
        self.configuration, self.subnets, self.groups = configuration, list(subnets), list(groups)
        self.fingerprint = " ".join([*self.subnets, *self.groups])

    @property
    def function(self) -> str:
        """Its name."""
        return function_name(self.work.id)

    def find(self) -> str | None:
        """By its name."""
        seen = self.look(self.function)
        return str(seen["FunctionArn"]) if seen else None

    def create(self) -> str:
        """Make it. Raises CloudError(RoleUnknown), to be tried again: Lambda hears of a new role late."""
        region, account = self.work.session.region, self.configuration.account
        point = f"arn:aws:elasticfilesystem:{region}:{account}:access-point/{self.work('access-point')}"
        try:
            answer = self.work.session.client("lambda").create_function(
                FunctionName=self.function,
                Description=f"Files of the Bodo workspace {self.work.title}"[:256],
                Runtime="python3.12",
                Architectures=["x86_64"],
                Handler="portal.clouds.aws.files_handler.handle",
                Role=f"arn:aws:iam::{account}:role{PATH}{self.work('files-role')}",
                Code={"ZipFile": code()},
                MemorySize=MEMORY,
                Timeout=TIMEOUT,
                VpcConfig={"SubnetIds": self.subnets, "SecurityGroupIds": self.groups},
                FileSystemConfigs=[{"Arn": point, "LocalMountPath": ROOT}],
                Tags=self.work.tags(self.name),
            )
        except AwsError as error:
            if error.reason == "InvalidParameterValueException" and any(
                each in error.message for each in _ROLE_UNKNOWN
            ):
                raise CloudError(
                    "RoleUnknown", error.message, "Lambda hears of new roles late. It is tried again."
                ) from error
            raise
        return str(answer["FunctionArn"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is connected, with the code that belongs to this portal."""
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        if seen["State"] == "Failed":
            hint = "Look whether its subnets have free addresses; delete the workspace and create it again."
            reason = str(seen.get("StateReason") or "no reason was given")
            raise CloudError(
                "FunctionFailed", f"Lambda could not connect {self.function}: {reason}", hint, permanent=True
            )
        if seen["State"] == "Pending" or seen.get("LastUpdateStatus") == "InProgress":
            return False
        if seen["CodeSha256"] != digest():
            self.work.session.client("lambda").update_function_code(FunctionName=id, ZipFile=code())
            return AGAIN
        return True

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As Lambda describes it."""
        try:
            seen: dict[str, Any] = self.work.session.client("lambda").get_function_configuration(FunctionName=id)
        except AwsError as error:
            if error.absent:
                return None
            raise
        return seen

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it."""
        self.work.session.client("lambda").delete_function(FunctionName=id)
