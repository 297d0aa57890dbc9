"""AWS Lambda as it is for functions in a network, in front of moto's.

CreateFunction   only with a role that is there; makes network interfaces
Invoke           really runs the handler, out of the archive that was uploaded, over a folder in place of EFS
DeleteFunction   leaves the interfaces for a while; they go only while the role is there
subnets, groups  cannot be deleted while such interfaces use them
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.backends import get_backend

from tests.clouds.aws import cloud
from tests.clouds.aws.cloud import Aws, Reply

LIMIT = 6_291_556
"""Bytes of what goes in or comes out."""

PROGRAM = """
import ctypes, errno, json, sys
sys.path.insert(0, sys.argv[1])
import portal.clouds.local.files as files

class Nfs:
    "NFS renames, but takes no flags with it, once the kernel saw that both names are right."
    def __init__(self, real):
        self.real = real
    def renameat2(self, from_folder, from_name, to_folder, to_name, flags):
        import os
        try:
            os.stat(from_name, dir_fd=from_folder, follow_symlinks=False)
        except OSError as error:
            ctypes.set_errno(error.errno)
            return -1
        try:
            os.stat(to_name, dir_fd=to_folder, follow_symlinks=False)
        except OSError:
            ctypes.set_errno(errno.EINVAL)
            return -1
        ctypes.set_errno(errno.EEXIST)
        return -1

files._libc = Nfs(files._libc)
from portal.clouds.aws.files_handler import handle
print(json.dumps(handle(json.load(sys.stdin), None)))
"""


@dataclass
class Functions:
    """What is known beside moto. ``mounts`` are folders by function, ``left`` the interfaces of deleted functions with
    how often they are still shown, and their role."""

    mounts: dict[str, Path] = field(default_factory=dict)
    left: dict[str, tuple[list[str], int, str]] = field(default_factory=dict)
    shown: int = 2

    def forget(self) -> None:
        """A new test."""
        for folder in self.mounts.values():
            shutil.rmtree(folder, ignore_errors=True)
        self.mounts.clear()
        self.left.clear()
        self.shown = 2


FUNCTIONS = Functions()


def lambda_(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """Answers in moto's place, or sees to what moto forgets."""
    if operation in {"DeleteSubnet", "DeleteSecurityGroup"}:
        return _in_use(environ, next(value[0] for key, value in parameters.items() if key.endswith("Id")))
    if operation == "DescribeNetworkInterfaces":
        _time_passes(environ)
        return None
    if "/lambda/" not in environ.get("HTTP_AUTHORIZATION", ""):
        return None
    _, _, rest = unquote(environ["PATH_INFO"]).partition("/functions")
    name, _, verb = rest.strip("/").partition("/")
    name = name.rpartition(":")[2]
    operation = {
        ("POST", ""): "CreateFunction",
        ("DELETE", ""): "DeleteFunction",
        ("POST", "invocations"): "Invoke",
        ("PUT", "code"): "UpdateFunctionCode",
        ("GET", "configuration"): "GetFunctionConfiguration",
        ("GET", ""): "ListFunctions",
    }.get((environ["REQUEST_METHOD"], verb), "")
    aws.asked.append(operation)
    if aws.faults.get(operation):
        status, code, message = aws.faults[operation].pop(0)
        return _refusal(code, message, status)
    backend = _backend(environ, "lambda")
    if operation == "CreateFunction":
        return _created(environ, json.loads(cloud._body(environ)))
    if operation == "DeleteFunction" and _known(backend, name):
        function = backend.get_function(name)
        FUNCTIONS.left[name] = (_interfaces(environ, name), FUNCTIONS.shown, function.role)
    if operation == "Invoke" and _known(backend, name):
        return _invoked(backend.get_function(name), cloud._body(environ))
    return None


def _created(environ: dict[str, Any], spec: dict[str, Any]) -> Reply | None:
    name = spec["FunctionName"]
    if _known(_backend(environ, "lambda"), name):
        return _refusal("ResourceConflictException", f"Function already exist: {name}", 409)
    role = _role(environ, spec["Role"])
    if role is None or "lambda.amazonaws.com" not in role.assume_role_policy_document:
        words = "The role defined for the function cannot be assumed by Lambda."
        return _refusal("InvalidParameterValueException", words)
    FUNCTIONS.mounts[name] = Path(tempfile.mkdtemp(prefix="bodofs-"))
    if "VpcConfig" not in spec:
        return None
    assert spec["FileSystemConfigs"][0]["LocalMountPath"].startswith("/mnt/")
    point = spec["FileSystemConfigs"][0]["Arn"].rpartition("/")[2]
    assert point in _backend(environ, "efs").access_points
    ec2 = _backend(environ, "ec2")
    if _interfaces(environ, name):  # those of one that was deleted just now serve again
        FUNCTIONS.left.pop(name, None)
        return None
    for subnet in spec["VpcConfig"]["SubnetIds"]:
        ec2.create_network_interface(
            ec2.get_subnet(subnet),
            None,
            group_ids=spec["VpcConfig"]["SecurityGroupIds"],
            description=f"AWS Lambda VPC ENI-{name}-0a1b2c",
        )
    return None


def _invoked(function: Any, body: bytes) -> Reply:
    if len(body) > LIMIT:
        return _refusal("RequestEntityTooLargeException", f"{len(body)} bytes is too large", 413)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "code.zip"
        archive.write_bytes(function.code_bytes)
        ran = subprocess.run(
            [sys.executable, "-I", "-B", "-c", PROGRAM, str(archive)],
            input=body,
            capture_output=True,
            env={"PORTAL_FILES_ROOT": str(FUNCTIONS.mounts[function.function_name])},
            cwd=folder,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr.decode()
    assert len(ran.stdout) < LIMIT
    return ran.stdout.decode(), "application/json", 200


def _time_passes(environ: dict[str, Any]) -> None:
    for name, (interfaces, shown, role) in list(FUNCTIONS.left.items()):
        if shown:
            FUNCTIONS.left[name] = (interfaces, shown - 1, role)
        elif _role(environ, role) is not None:
            for interface in interfaces:
                _backend(environ, "ec2").delete_network_interface(interface)
            del FUNCTIONS.left[name]


def _in_use(environ: dict[str, Any], id: str) -> Reply | None:
    for interface in _backend(environ, "ec2").enis.values():
        uses = {interface.subnet.id, *(group.id for group in interface.group_set)}
        if str(interface.description).startswith("AWS Lambda") and id in uses:
            error = f"<Code>DependencyViolation</Code><Message>resource {id} has a dependent object</Message>"
            return f"<Response><Errors><Error>{error}</Error></Errors></Response>", "text/xml", 400
    return None


def _interfaces(environ: dict[str, Any], name: str) -> list[str]:
    enis = _backend(environ, "ec2").enis.values()
    return [each.id for each in enis if str(each.description).startswith(f"AWS Lambda VPC ENI-{name}-")]


def _role(environ: dict[str, Any], arn: str) -> Any:
    roles = _backend(environ, "iam").roles.values()
    return next((role for role in roles if role.arn == arn), None)


def _known(backend: Any, name: str) -> bool:
    return any(each.function_name == name for each in backend.list_functions())


def _backend(environ: dict[str, Any], service: str) -> Any:
    from tests.clouds.aws.shim_ssm import caller

    account, region = caller(environ)
    return get_backend(service)[account]["global" if service == "iam" else region]  # type: ignore[call-overload]


def _refusal(code: str, message: str, status: int = 400) -> Reply:
    return json.dumps({"__type": code, "message": message}), "application/json", status


cloud.CORRECTIONS.append(lambda_)
