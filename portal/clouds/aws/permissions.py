"""What the portal may do in a customer's account: one table, from which the policy, the template and VALIDATE are made.

A test compares the table with the calls that the provider really makes. EC2's things can be changed and deleted only
where they carry our tag, and only while making a thing can a tag be put on it; what is named by us is named below
``portal/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.grants import BUCKET, NODE_POLICY, TABLE, TAGGED, Grant, actions
from portal.clouds.aws.grants_clusters import CLUSTERS, CREATES
from portal.clouds.aws.grants_files import FILES
from portal.clouds.aws.grants_jobs import JOBS
from portal.clouds.aws.grants_orphans import ORPHANS
from portal.clouds.aws.grants_prices import PRICES
from portal.clouds.aws.grants_roles import ROLES

POLICY_LIMIT = 10_240
"""Characters, without white space, that AWS allows the inline policies of a role."""

_CREATES = (
    *("CreateVpc", "CreateSubnet", "CreateInternetGateway", "AllocateAddress", "CreateNatGateway"),
    *("CreateRouteTable", "CreateSecurityGroup", "CreateVpcEndpoint"),
)

GRANTS: tuple[Grant, ...] = (
    Grant(
        "StateBucket",
        "look at the bucket that holds the state of deployments",
        actions(
            "s3",
            "ListBucket GetBucketLocation GetBucketVersioning GetBucketPublicAccessBlock",
        ),
        (f"arn:aws:s3:::{BUCKET}",),
    ),
    Grant(
        "StateObjects",
        "keep the state of deployments",
        actions("s3", "GetObject PutObject DeleteObject"),
        (f"arn:aws:s3:::{BUCKET}/*",),
    ),
    Grant(
        "StateLock",
        "keep two portals from changing a deployment at once",
        actions("dynamodb", "DescribeTable GetItem UpdateItem DeleteItem"),
        (TABLE,),
    ),
    Grant(
        "OwnPermissions",
        "tell which permissions are missing",
        actions("iam", "SimulatePrincipalPolicy"),
        ("arn:aws:iam::*:role/*",),
    ),
    Grant(
        "Look",
        "find what it made, and choose zones, networks and machines",
        (
            *actions(
                "ec2",
                "DescribeAvailabilityZones DescribeInstanceTypes DescribeInstanceTypeOfferings "
                "DescribeVpcs DescribeVpcAttribute DescribeSubnets DescribeInternetGateways DescribeNatGateways "
                "DescribeAddresses DescribeRouteTables DescribeSecurityGroups DescribeVpcEndpoints "
                "DescribeNetworkInterfaces",
            ),
            *actions("servicequotas", "GetServiceQuota"),
            *actions("tag", "GetResources"),
        ),
    ),
    Grant("NetworkCreate", "make a workspace's network", actions("ec2", " ".join(_CREATES))),
    Grant(
        "NetworkTag",
        "tag what it makes while making it",
        actions("ec2", "CreateTags"),
        ("arn:aws:ec2:*:*:*/*",),
        {"StringEquals": {"ec2:CreateAction": [*_CREATES, *CREATES]}},
        {"ec2:CreateAction": "CreateVpc"},
    ),
    Grant(
        "NetworkChange",
        "set up and remove the networks that it made",
        actions(
            "ec2",
            "ModifyVpcAttribute AttachInternetGateway DetachInternetGateway CreateRoute AssociateRouteTable "
            "DisassociateRouteTable AuthorizeSecurityGroupIngress "
            "AuthorizeSecurityGroupEgress DeleteVpc DeleteSubnet DeleteInternetGateway "
            "ReleaseAddress DeleteNatGateway DeleteRouteTable DeleteSecurityGroup DeleteVpcEndpoints",
        ),
        **TAGGED,
    ),
    Grant(
        "MountTargetInterfaces",
        "let the shared filesystem be reached from a workspace's network",
        actions("ec2", "CreateNetworkInterface DeleteNetworkInterface"),
    ),
    Grant(
        "FilesystemCreate",
        "make a workspace's shared filesystem",
        actions(
            "elasticfilesystem",
            "CreateFileSystem DescribeFileSystems DescribeMountTargets DescribeAccessPoints",
        ),
    ),
    # Without the condition, whoever holds the role could make any filesystem of the account ours, and delete it.
    Grant(
        "FilesystemTag",
        "tag filesystems and ways into them while making them",
        actions("elasticfilesystem", "TagResource"),
        conditions={"StringEquals": {"elasticfilesystem:CreateAction": ["CreateFileSystem", "CreateAccessPoint"]}},
        context={"elasticfilesystem:CreateAction": "CreateFileSystem"},
    ),
    Grant(
        "FilesystemChange",
        "set up and remove the filesystems that it made",
        actions(
            "elasticfilesystem",
            "CreateMountTarget CreateAccessPoint DeleteFileSystem DeleteMountTarget DeleteAccessPoint",
        ),
        **TAGGED,
    ),
    Grant(
        "KeyCreate",
        "make a workspace's encryption key",
        actions("kms", "CreateKey TagResource ListAliases"),
    ),
    # AWS asks for both: the name, which has to be one of ours, and the key.
    Grant(
        "KeyNames",
        "give the keys that it made names, and take them off again",
        actions("kms", "CreateAlias DeleteAlias"),
        ("arn:aws:kms:*:*:alias/portal/*", "arn:aws:kms:*:*:key/*"),
    ),
    Grant(
        "KeyUse",
        "use, and in the end remove, the keys that it made",
        actions(
            "kms",
            "DescribeKey GetKeyRotationStatus EnableKeyRotation ScheduleKeyDeletion CreateGrant Encrypt Decrypt "
            "GenerateDataKey GenerateDataKeyWithoutPlaintext",
        ),
        **TAGGED,
    ),
    Grant(
        "Parameters",
        "keep the key with which machines of a workspace reach each other",
        actions("ssm", "PutParameter AddTagsToResource GetParameter DeleteParameter"),
        ("arn:aws:ssm:*:*:parameter/portal/*",),
    ),
    *ROLES,
    Grant(
        "ServiceRoles",
        "let AWS make the roles that its own services need, once per account",
        actions("iam", "CreateServiceLinkedRole"),
        ("arn:aws:iam::*:role/aws-service-role/*",),
        {
            "StringEquals": {
                "iam:AWSServiceName": [
                    "elasticfilesystem.amazonaws.com",
                    "ec2.amazonaws.com",
                    "autoscaling.amazonaws.com",
                    "spot.amazonaws.com",
                ]
            }
        },
        {"iam:AWSServiceName": "elasticfilesystem.amazonaws.com"},
    ),
    Grant(
        "AlarmsLook",
        "show what usage alarms watch, what they say and whom they tell",
        (
            *actions("cloudwatch", "DescribeAlarms GetMetricData"),
            *actions("sns", "ListTopics GetTopicAttributes ListSubscriptionsByTopic"),
        ),
    ),
    Grant(
        "Alarms",
        "make and remove usage alarms",
        actions("cloudwatch", "PutMetricAlarm TagResource DeleteAlarms"),
        ("arn:aws:cloudwatch:*:*:alarm:portal/*",),
    ),
    Grant(
        "AlarmTopics",
        "make and remove the lists of whom usage alarms tell",
        actions("sns", "CreateTopic TagResource Subscribe DeleteTopic"),
        ("arn:aws:sns:*:*:portal-*",),
    ),
    Grant("AlarmEndpoints", "take somebody off such a list", actions("sns", "Unsubscribe")),
    *PRICES,
    *FILES,
    *JOBS,
    *CLUSTERS,
    *ORPHANS,
)


def policy(grants: Sequence[Grant] = GRANTS) -> dict[str, Any]:
    """The policy with the placeholders in it."""
    return {"Version": "2012-10-17", "Statement": [grant.statement() for grant in grants]}


def filled_policy(bucket: str, table_arn: str, node_policy: str) -> str:
    """The policy as JSON, ready to paste. ``node_policy`` is that policy's name."""
    return filled(json.dumps(policy(), indent=2), bucket, table_arn, node_policy)


def filled(text: str, bucket: str, table_arn: str, node_policy: str) -> str:
    """A text with the placeholders replaced."""
    return text.replace(BUCKET, bucket).replace(TABLE, table_arn).replace(NODE_POLICY, node_policy)


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


def samples(grant: Grant, configuration: Configuration) -> list[str]:
    """Resources as there could be, for asking AWS about the grant: its policy simulator takes no patterns."""
    return [_sample(resource, configuration) for resource in grant.resources]


def circumstances(grant: Grant, configuration: Configuration) -> dict[str, str]:
    """The context of the grant as it could be, for asking AWS about it."""
    return {key: _sample(value, configuration) for key, value in grant.context.items()}


def _sample(text: str, configuration: Configuration) -> str:
    names = (configuration.bucket, configuration.table_arn, configuration.node_policy_name)
    parts = filled(text, *names).split(":", 5)
    if len(parts) < 6:
        return text
    parts[3] = configuration.region if parts[3] == "*" else parts[3]
    parts[4] = configuration.account if parts[4] == "*" else parts[4]
    parts[5] = re.sub(r"^\*/", "vpc/", parts[5]).replace("*", "validation")
    return ":".join(parts)
