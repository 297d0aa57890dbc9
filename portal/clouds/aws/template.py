"""The CloudFormation template that makes a cloud configuration's four things, and the link that opens it filled in.

CloudFormation is used for this and for nothing else: a stack's progress is not ours to watch, and what it leaves behind
when a deletion fails is not ours to find. The template is static; the operator puts it in a bucket that customers can
read, because AWS opens quick-create links for templates in S3 only.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from portal.clouds.aws import node_policy
from portal.clouds.aws.configuration import node_policy_name
from portal.clouds.aws.grants import BUCKET, NODE_POLICY, TABLE
from portal.clouds.aws.onboarding import POLICY_NAME
from portal.clouds.aws.permissions import policy
from portal.clouds.aws.session import ROLE_SECONDS, Session


def template() -> str:
    """The template as JSON, which CloudFormation reads as well as YAML."""
    name = {"Ref": "ResourceName"}
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    bucket = {
        "BucketName": name,
        "VersioningConfiguration": {"Status": "Enabled"},
        "PublicAccessBlockConfiguration": dict.fromkeys(closed, True),
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    }
    table = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "LockID", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "LockID", "KeyType": "HASH"}],
    }
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${PlatformAccount}:root"}},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}},
    }
    role = {
        "RoleName": name,
        "MaxSessionDuration": ROLE_SECONDS,
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        "Policies": [{"PolicyName": POLICY_NAME, "PolicyDocument": _with_references(policy())}],
    }
    machines = {
        "ManagedPolicyName": {"Ref": "NodePolicyName"},
        "Description": "What machines of Bodo workspaces may do. Their permissions boundary, too.",
        "PolicyDocument": _with_references(node_policy.document()),
    }
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Lets the Bodo Cloud Platform make and remove workspaces and clusters in this account.",
        "Parameters": {
            "ResourceName": {
                "Type": "String",
                "Description": "Names the bucket, the table and the role.",
                "AllowedPattern": "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
            },
            "PlatformAccount": {
                "Type": "String",
                "Description": "The AWS account of the portal.",
                "AllowedPattern": "[0-9]{12}",
            },
            "ExternalId": {
                "Type": "String",
                "Description": "As the portal shows it. The role is lent only to who names it.",
                "AllowedPattern": "[0-9a-f]{40}",
            },
            "NodePolicyName": {
                "Type": "String",
                "Description": "As the portal shows it. Names the policy beyond which no machine gets.",
                "AllowedPattern": "bodo-platform-nodes-[0-9a-f]{20}",
            },
        },
        "Resources": {
            "Bucket": _kept("AWS::S3::Bucket", bucket),
            "Table": _kept("AWS::DynamoDB::Table", table),
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
            # While machines have the policy, it cannot be removed. It is tried first, so that the portal still has the
            # role with which to remove the machines.
            "NodePolicy": {"Type": "AWS::IAM::ManagedPolicy", "DependsOn": "Role", "Properties": machines},
        },
        "Outputs": {
            "RoleArn": {"Description": "Enter it in the portal.", "Value": {"Fn::GetAtt": ["Role", "Arn"]}},
            "BucketName": {"Description": "Enter it in the portal.", "Value": {"Ref": "Bucket"}},
            "TableName": {"Description": "Enter it in the portal.", "Value": {"Ref": "Table"}},
        },
    }
    return json.dumps(document, indent=2) + "\n"


def publish(session: Session, bucket: str, key: str = "bodo-platform.json") -> str:
    """Write the template into a bucket of the operator's and return its address, for ``quick_create_link``. Customers
    have to be able to read it: that is for the bucket's policy to say. Raises AwsError."""
    session.client("s3").put_object(
        Bucket=bucket, Key=key, Body=template().encode(), ContentType="application/json", CacheControl="no-cache"
    )
    return f"https://{bucket}.s3.{session.region}.amazonaws.com/{quote(key)}"


def quick_create_link(template_url: str, *, region: str, name: str, platform_account: str, external_id: str) -> str:
    """The page of the AWS console on which one click makes the stack. ``template_url`` must lead into S3."""
    values = {
        "ResourceName": name,
        "PlatformAccount": platform_account,
        "ExternalId": external_id,
        "NodePolicyName": node_policy_name(external_id),
    }
    parameters = {"templateURL": template_url, "stackName": name, **{f"param_{k}": v for k, v in values.items()}}
    console = f"https://{region}.console.aws.amazon.com/cloudformation/home"
    return f"{console}?{urlencode({'region': region})}#/stacks/quickcreate?{urlencode(parameters)}"


def _kept(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    """The state of deployments outlives the stack: without it, nobody knows what else to remove."""
    return {"Type": kind, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties}


def _with_references(value: Any) -> Any:
    """The policy with references of CloudFormation where the placeholders are."""
    if isinstance(value, dict):
        return {key: _with_references(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_references(each) for each in value]
    if value == TABLE:
        return {"Fn::GetAtt": ["Table", "Arn"]}
    if isinstance(value, str) and (BUCKET in value or NODE_POLICY in value):
        # Variables of IAM are not CloudFormation's to fill in.
        text = value.replace("${", "${!").replace(BUCKET, "${Bucket}").replace(NODE_POLICY, "${NodePolicyName}")
        return {"Fn::Sub": text}
    return value
