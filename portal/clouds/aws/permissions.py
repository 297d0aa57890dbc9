"""What the portal may do in a customer's account: one table, from which the policy, the template and VALIDATE are made.

A test compares the table with the calls that the provider really makes. EC2's things can be changed and deleted only
where they carry our tag, and only while making a thing can a tag be put on it; what is named by us is named below
``portal/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BUCKET = "$$BUCKET_NAME$$"
TABLE = "$$DYNAMO_ARN$$"

TAG = "portal:workspace"
"""On everything that the portal makes for a workspace; its value is the workspace's uuid."""

POLICY_LIMIT = 10_240
"""Characters, without white space, that AWS allows the inline policies of a role."""


@dataclass(frozen=True)
class Grant:
    """Actions that are needed for one purpose, on which resources, under which conditions.

    ``context`` is the circumstance under which the conditions hold, for asking AWS whether the actions are allowed.
    """

    name: str
    purpose: str
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """As it stands in a policy."""
        conditions = {"Condition": {kind: dict(keys) for kind, keys in self.conditions.items()}}
        return {
            "Sid": self.name,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
            **(conditions if self.conditions else {}),
        }


def _actions(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in names.split())


_TAGGED: dict[str, Any] = {
    "conditions": {"Null": {f"aws:ResourceTag/{TAG}": "false"}},
    "context": {f"aws:ResourceTag/{TAG}": "validation"},
}
_ROLES = "arn:aws:iam::*:role/portal/*"
_PROFILES = "arn:aws:iam::*:instance-profile/portal/*"
_CREATES = (
    *("CreateVpc", "CreateSubnet", "CreateInternetGateway", "AllocateAddress", "CreateNatGateway"),
    *("CreateRouteTable", "CreateSecurityGroup", "CreateVpcEndpoint"),
)

GRANTS: tuple[Grant, ...] = (
    Grant(
        "StateBucket",
        "look at the bucket that holds the state of deployments",
        _actions(
            "s3",
            "ListBucket GetBucketLocation GetBucketVersioning GetBucketPublicAccessBlock",
        ),
        (f"arn:aws:s3:::{BUCKET}",),
    ),
    Grant(
        "StateObjects",
        "keep the state of deployments",
        _actions("s3", "GetObject PutObject DeleteObject"),
        (f"arn:aws:s3:::{BUCKET}/*",),
    ),
    Grant(
        "StateLock",
        "keep two portals from changing a deployment at once",
        _actions("dynamodb", "DescribeTable GetItem UpdateItem DeleteItem"),
        (TABLE,),
    ),
    Grant(
        "OwnPermissions",
        "tell which permissions are missing",
        _actions("iam", "SimulatePrincipalPolicy"),
        ("arn:aws:iam::*:role/*",),
    ),
    Grant(
        "Look",
        "find what it made, and choose zones, networks and machines",
        (
            *_actions(
                "ec2",
                "DescribeAvailabilityZones DescribeInstanceTypes DescribeInstanceTypeOfferings "
                "DescribeVpcs DescribeVpcAttribute DescribeSubnets DescribeInternetGateways DescribeNatGateways "
                "DescribeAddresses DescribeRouteTables DescribeSecurityGroups DescribeVpcEndpoints "
                "DescribeNetworkInterfaces",
            ),
            *_actions("servicequotas", "GetServiceQuota"),
            *_actions("tag", "GetResources"),
        ),
    ),
    Grant("NetworkCreate", "make a workspace's network", _actions("ec2", " ".join(_CREATES))),
    Grant(
        "NetworkTag",
        "tag what it makes while making it",
        _actions("ec2", "CreateTags"),
        ("arn:aws:ec2:*:*:*/*",),
        {"StringEquals": {"ec2:CreateAction": list(_CREATES)}},
        {"ec2:CreateAction": "CreateVpc"},
    ),
    Grant(
        "NetworkChange",
        "set up and remove the networks that it made",
        _actions(
            "ec2",
            "ModifyVpcAttribute AttachInternetGateway DetachInternetGateway CreateRoute AssociateRouteTable "
            "DisassociateRouteTable AuthorizeSecurityGroupIngress "
            "AuthorizeSecurityGroupEgress DeleteVpc DeleteSubnet DeleteInternetGateway "
            "ReleaseAddress DeleteNatGateway DeleteRouteTable DeleteSecurityGroup DeleteVpcEndpoints",
        ),
        **_TAGGED,
    ),
    Grant(
        "MountTargetInterfaces",
        "let the shared filesystem be reached from a workspace's network",
        _actions("ec2", "CreateNetworkInterface DeleteNetworkInterface"),
    ),
    Grant(
        "FilesystemCreate",
        "make a workspace's shared filesystem",
        _actions(
            "elasticfilesystem",
            "CreateFileSystem TagResource DescribeFileSystems DescribeMountTargets DescribeAccessPoints",
        ),
    ),
    Grant(
        "FilesystemChange",
        "set up and remove the filesystems that it made",
        _actions(
            "elasticfilesystem",
            "CreateMountTarget CreateAccessPoint DeleteFileSystem DeleteMountTarget DeleteAccessPoint",
        ),
        **_TAGGED,
    ),
    Grant(
        "KeyCreate",
        "make a workspace's encryption key",
        _actions("kms", "CreateKey TagResource CreateAlias DeleteAlias ListAliases"),
    ),
    Grant(
        "KeyUse",
        "use, and in the end remove, the keys that it made",
        _actions(
            "kms",
            "DescribeKey GetKeyRotationStatus EnableKeyRotation ScheduleKeyDeletion CreateGrant Encrypt Decrypt "
            "GenerateDataKey GenerateDataKeyWithoutPlaintext",
        ),
        **_TAGGED,
    ),
    Grant(
        "Parameters",
        "keep the key with which machines of a workspace reach each other",
        _actions("ssm", "PutParameter AddTagsToResource GetParameter DeleteParameter"),
        ("arn:aws:ssm:*:*:parameter/portal/*",),
    ),
    Grant(
        "InstanceRoles",
        "make the role of a workspace's machines",
        _actions(
            "iam",
            "CreateRole TagRole GetRole DeleteRole PutRolePolicy DeleteRolePolicy ListRolePolicies",
        ),
        (_ROLES,),
    ),
    Grant(
        "InstanceProfiles",
        "give machines their role",
        _actions(
            "iam",
            "CreateInstanceProfile TagInstanceProfile GetInstanceProfile AddRoleToInstanceProfile "
            "RemoveRoleFromInstanceProfile DeleteInstanceProfile",
        ),
        (_PROFILES,),
    ),
    Grant(
        "PassRole",
        "hand that role to EC2 and to nothing else",
        _actions("iam", "PassRole"),
        (_ROLES,),
        {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    Grant(
        "ServiceRoles",
        "let AWS make the roles that its own services need, once per account",
        _actions("iam", "CreateServiceLinkedRole"),
        ("arn:aws:iam::*:role/aws-service-role/*",),
        {"StringEquals": {"iam:AWSServiceName": ["elasticfilesystem.amazonaws.com", "ec2.amazonaws.com"]}},
        {"iam:AWSServiceName": "elasticfilesystem.amazonaws.com"},
    ),
    Grant(
        "AlarmsLook",
        "show what usage alarms watch, what they say and whom they tell",
        (
            *_actions("cloudwatch", "DescribeAlarms GetMetricData"),
            *_actions("sns", "ListTopics GetTopicAttributes ListSubscriptionsByTopic"),
        ),
    ),
    Grant(
        "Alarms",
        "make and remove usage alarms",
        _actions("cloudwatch", "PutMetricAlarm TagResource DeleteAlarms"),
        ("arn:aws:cloudwatch:*:*:alarm:portal/*",),
    ),
    Grant(
        "AlarmTopics",
        "make and remove the lists of whom usage alarms tell",
        _actions("sns", "CreateTopic TagResource Subscribe DeleteTopic"),
        ("arn:aws:sns:*:*:portal-*",),
    ),
    Grant("AlarmEndpoints", "take somebody off such a list", _actions("sns", "Unsubscribe")),
)


def policy(grants: Sequence[Grant] = GRANTS) -> dict[str, Any]:
    """The policy with the two placeholders in it."""
    return {"Version": "2012-10-17", "Statement": [grant.statement() for grant in grants]}


def filled_policy(bucket: str, table_arn: str) -> str:
    """The policy as JSON, ready to paste."""
    return filled(json.dumps(policy(), indent=2), bucket, table_arn)


def filled(text: str, bucket: str, table_arn: str) -> str:
    """A text with the placeholders replaced."""
    return text.replace(BUCKET, bucket).replace(TABLE, table_arn)


def trust_policy(platform_account: str, external_id: str) -> dict[str, Any]:
    """Who may borrow the role: this portal's account, and only where it names the External ID."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{platform_account}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ],
    }


def samples(grant: Grant, bucket: str, table_arn: str, region: str, account: str) -> list[str]:
    """Resources as there could be, for asking AWS about the grant: its policy simulator takes no patterns."""
    return [_sample(filled(resource, bucket, table_arn), region, account) for resource in grant.resources]


def _sample(resource: str, region: str, account: str) -> str:
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return resource
    parts[3] = region if parts[3] == "*" else parts[3]
    parts[4] = account if parts[4] == "*" else parts[4]
    parts[5] = re.sub(r"^\*/", "vpc/", parts[5]).replace("*", "validation")
    return ":".join(parts)
