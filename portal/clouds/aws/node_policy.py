"""What any machine or function of ours may do in a customer's account: one policy for each cloud configuration.

It is made with the bucket, the table and the role, by the customer or with the customer's keys, and the portal's role
cannot change it. Each role that the portal makes has it twice: attached, which gives it these powers, and as its
permissions boundary, which keeps it from ever having others. The portal's role may make no role without this boundary.

What belongs to one workspace is told by the tag ``portal:workspace`` of the role (``aws:PrincipalTag``): one policy for
all workspaces, and none of them reaches another's. Where a role lacks the tag, AWS cannot fill in the variable, and
the statement allows nothing (IAM User Guide, "IAM policy elements: Variables and tags").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portal.clouds.aws.grants import BUCKET, TAG, Grant, actions

LIMIT = 6_144
"""Characters, without white space, that AWS allows a managed policy."""

FUNCTION_STEP = "files-role"
"""The ``portal:step`` of roles that are for functions, not for machines."""

_MINE = f"${{aws:PrincipalTag/{TAG}}}"
_FOLDER = f"arn:aws:s3:::{BUCKET}/workspaces/{_MINE}"
_OF_MY_WORKSPACE = {"StringEquals": {f"aws:ResourceTag/{TAG}": _MINE}}
_A_FUNCTION = {"StringEquals": {"aws:PrincipalTag/portal:step": FUNCTION_STEP}}

STATEMENTS: tuple[Grant, ...] = (
    # What AmazonSSMManagedInstanceCore allows, without its ssm:GetParameter on every parameter of the account.
    Grant(
        "SystemsManager",
        "be commanded by Systems Manager",
        (
            *actions(
                "ssm",
                "DescribeAssociation DescribeDocument GetDeployablePatchSnapshotForInstance GetDocument GetManifest "
                "ListAssociations ListInstanceAssociations PutComplianceItems PutConfigurePackageResult PutInventory "
                "UpdateAssociationStatus UpdateInstanceAssociationStatus UpdateInstanceInformation",
            ),
            *actions("ssmmessages", "CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel"),
            *actions("ec2messages", "AcknowledgeMessage DeleteMessage FailMessage GetEndpoint GetMessages SendReply"),
        ),
    ),
    Grant(
        "Parameters",
        "read the key with which machines of the workspace reach each other",
        actions("ssm", "GetParameter"),
        (f"arn:aws:ssm:*:*:parameter/portal/{_MINE}/*",),
    ),
    Grant("Decrypt", "decrypt with the workspace's key", actions("kms", "Decrypt"), conditions=_OF_MY_WORKSPACE),
    Grant(
        "Runs",
        "write what jobs of the workspace leave",
        actions("s3", "GetObject PutObject AbortMultipartUpload"),
        (f"{_FOLDER}/runs/*",),
    ),
    Grant("Software", "get the portal's scripts", actions("s3", "GetObject"), (f"{_FOLDER}/node/*",)),
    # Machines mount it without IAM; what is not of their network does not reach it.
    Grant(
        "Filesystem",
        "let the workspace's function use the shared filesystem",
        actions("elasticfilesystem", "ClientMount ClientWrite"),
        conditions={"StringEquals": _A_FUNCTION["StringEquals"] | _OF_MY_WORKSPACE["StringEquals"]},
    ),
    # Lambda itself makes the interfaces of a function in a VPC, with the function's role. Calls out of its code name
    # their function, and get nothing (AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an
    # Amazon VPC"). It writes no logs: what goes wrong comes back in its answers, and its log group would stay for good.
    Grant(
        "FunctionInterfaces",
        "let Lambda connect the workspace's function with its network",
        actions(
            "ec2",
            "CreateNetworkInterface DescribeNetworkInterfaces DescribeSubnets DeleteNetworkInterface "
            "AssignPrivateIpAddresses UnassignPrivateIpAddresses",
        ),
        conditions={**_A_FUNCTION, "Null": {"lambda:SourceFunctionArn": "true"}},
    ),
)


def document() -> dict[str, Any]:
    """The policy with the bucket's placeholder in it."""
    return {"Version": "2012-10-17", "Statement": [statement.statement() for statement in STATEMENTS]}


def filled_node_policy(bucket: str) -> str:
    """The policy as JSON, ready to paste."""
    return json.dumps(document(), indent=2).replace(BUCKET, bucket)


def differences(found: Mapping[str, Any], bucket: str) -> list[str]:
    """In what a policy is another than it should be, in words. Order and spelling of lists do not count."""
    wanted = _by_name(json.loads(filled_node_policy(bucket)))
    there = _by_name(found)
    lines = [f"{name} is missing" for name in wanted if name not in there]
    lines += [f"{name} is not as it should be" for name in wanted if name in there and wanted[name] != there[name]]
    return lines + [f"{name} is too much" for name in there if name not in wanted]


def _by_name(policy: Mapping[str, Any]) -> dict[str, Any]:
    statements = policy.get("Statement", [])
    return {
        str(each.get("Sid") or f"statement {number}"): _compared(each)
        for number, each in enumerate([statements] if isinstance(statements, dict) else statements, 1)
    }


def _compared(value: Any) -> Any:
    """A statement with lists as sets, and single values as lists of one."""
    if isinstance(value, Mapping):
        return {key: _compared(each) for key, each in value.items()}
    return {str(each) for each in value} if isinstance(value, list) else {str(value)}
