"""Who the machines of a workspace are for AWS: a role that may do what a machine needs, and its instance profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.resources import AGAIN, Resource, Work, vanished
from portal.clouds.base import Event, Pending

PATH = "/portal/"
POLICY_NAME = "workspace"

_SYSTEMS_MANAGER = (
    *("ssm:UpdateInstanceInformation", "ssm:ListAssociations", "ssm:ListInstanceAssociations"),
    *("ssm:UpdateInstanceAssociationStatus", "ssm:UpdateAssociationStatus", "ssm:PutInventory", "ssm:GetDocument"),
    *("ssm:DescribeDocument", "ssm:DescribeAssociation", "ssm:GetDeployablePatchSnapshotForInstance"),
    *("ssm:GetManifest", "ssm:PutComplianceItems", "ssm:PutConfigurePackageResult"),
    *("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
    *("ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"),
    *("ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage"),
    *("ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply"),
)
"""What AmazonSSMManagedInstanceCore allows, without its ssm:GetParameter on every parameter of the account."""


class NodeRole(Resource):
    """The role of the machines: to be commanded, to read their key, to write what their jobs left."""

    name, label, group = "node-role", "role of the machines", "node-role"

    def __init__(self, work: Work, configuration: Configuration) -> None:
        super().__init__(work)
        self.configuration = configuration

    @property
    def role(self) -> str:
        """Its name."""
        return f"portal-{self.work.id}"

    def find(self) -> str | None:
        """By its name."""
        return self.role if self.look(self.role) else None

    def create(self) -> str:
        """Make it, for EC2 alone."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
        self.work.session.client("iam").create_role(
            RoleName=self.role,
            Path=PATH,
            AssumeRolePolicyDocument=json.dumps(trust),
            Description="Machines of a Bodo workspace",
            Tags=self.work.tag_list(self.name),
        )
        return self.role

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it has its policy."""
        if self.look(id) is None:
            raise vanished(self.label, id)
        iam = self.work.session.client("iam")
        if POLICY_NAME in iam.list_role_policies(RoleName=id)["PolicyNames"]:
            return True
        document = json.dumps(self.policy(), separators=(",", ":"))
        iam.put_role_policy(RoleName=id, PolicyName=POLICY_NAME, PolicyDocument=document)
        return AGAIN

    def policy(self) -> dict[str, Any]:
        """What a machine may do: nothing that is another workspace's."""
        region, account = self.work.session.region, self.configuration.account
        folder = f"arn:aws:s3:::{self.configuration.bucket}/workspaces/{self.work.id}"
        statements = [
            (list(_SYSTEMS_MANAGER), "*"),
            (["ssm:GetParameter"], f"arn:aws:ssm:{region}:{account}:parameter/portal/{self.work.id}/*"),
            (["kms:Decrypt"], f"arn:aws:kms:{region}:{account}:key/{self.work('key')}"),
            (["s3:GetObject", "s3:PutObject"], f"{folder}/runs/*"),
        ]
        return {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": actions, "Resource": resource} for actions, resource in statements
            ],
        }

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As IAM describes it."""
        return _ask(self.work, "get_role", "Role", RoleName=id)

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Its policies first."""
        iam = self.work.session.client("iam")
        for policy in iam.list_role_policies(RoleName=id)["PolicyNames"]:
            iam.delete_role_policy(RoleName=id, PolicyName=policy)
        iam.delete_role(RoleName=id)


class NodeProfile(Resource):
    """What EC2 wants in place of a role."""

    name, label, group = "node-profile", "instance profile", "node-profile"

    @property
    def profile(self) -> str:
        """Its name."""
        return f"portal-{self.work.id}"

    def find(self) -> str | None:
        """By its name."""
        return self.profile if self.look(self.profile) else None

    def create(self) -> str:
        """Make it."""
        self.work.session.client("iam").create_instance_profile(
            InstanceProfileName=self.profile, Path=PATH, Tags=self.work.tag_list(self.name)
        )
        return self.profile

    def ready(self, id: str) -> bool | Pending | Event:
        """Once the role is in it."""
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        if seen["Roles"]:
            return True
        self.work.session.client("iam").add_role_to_instance_profile(
            InstanceProfileName=id, RoleName=self.work("node-role")
        )
        return AGAIN

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As IAM describes it."""
        return _ask(self.work, "get_instance_profile", "InstanceProfile", InstanceProfileName=id)

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Take the role out first."""
        iam = self.work.session.client("iam")
        for role in seen["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=id, RoleName=role["RoleName"])
        iam.delete_instance_profile(InstanceProfileName=id)


def _ask(work: Work, call: str, key: str, **which: str) -> Mapping[str, Any] | None:
    try:
        answer: dict[str, Any] = getattr(work.session.client("iam"), call)(**which)[key]
    except AwsError as error:
        if error.absent:
            return None
        raise
    return answer
