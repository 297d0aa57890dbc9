"""Who the machines of a workspace are for AWS: a role that may do what a machine needs, and its instance profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.resources import AGAIN, Resource, Work, vanished
from portal.clouds.base import CloudError, Event, Pending

PATH = "/portal/"


class PortalRole(Resource):
    """A role for one AWS service, which may do what the node policy says, and can never do more."""

    service: ClassVar[str]
    about: ClassVar[str]
    suffix: ClassVar[str] = ""

    def __init__(self, work: Work, configuration: Configuration) -> None:
        super().__init__(work)
        self.configuration = configuration

    @property
    def role(self) -> str:
        """Its name."""
        return f"portal-{self.work.id}{self.suffix}"

    def find(self) -> str | None:
        """By its name."""
        return self.role if self.look(self.role) else None

    def create(self) -> str:
        """Make it, for its service alone. Raises CloudError(NodePolicyMissing)."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": self.service}, "Action": "sts:AssumeRole"}],
        }
        try:
            self.work.session.client("iam").create_role(
                RoleName=self.role,
                Path=PATH,
                AssumeRolePolicyDocument=json.dumps(trust),
                Description=self.about,
                PermissionsBoundary=self.configuration.node_policy_arn,
                Tags=self.work.tag_list(self.name),
            )
        except AwsError as error:
            raise policy_missing(error) from error
        return self.role

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it has the node policy."""
        if self.look(id) is None:
            raise vanished(self.label, id)
        if self.configuration.node_policy_arn in attached(self.work, id):
            return True
        attach(self.work, self.configuration, id)
        return AGAIN

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As IAM describes it."""
        return ask(self.work, "get_role", "Role", RoleName=id)

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """The node policy off it first. What somebody else attached is theirs to take off: AWS says so."""
        iam = self.work.session.client("iam")
        if self.configuration.node_policy_arn in attached(self.work, id):
            iam.detach_role_policy(RoleName=id, PolicyArn=self.configuration.node_policy_arn)
        iam.delete_role(RoleName=id)


class NodeRole(PortalRole):
    """The role of the machines: to be commanded, to read their key, to write what their jobs left."""

    name, label, group = "node-role", "role of the machines", "node-role"
    service, about = "ec2.amazonaws.com", "Machines of a Bodo workspace"


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
        return ask(self.work, "get_instance_profile", "InstanceProfile", InstanceProfileName=id)

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Take the role out first."""
        iam = self.work.session.client("iam")
        for role in seen["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=id, RoleName=role["RoleName"])
        iam.delete_instance_profile(InstanceProfileName=id)


def ask(work: Work, call: str, key: str, **which: str) -> Mapping[str, Any] | None:
    """What IAM says of something of one name; None where it is absent."""
    try:
        answer: dict[str, Any] = getattr(work.session.client("iam"), call)(**which)[key]
    except AwsError as error:
        if error.absent:
            return None
        raise
    return answer


def attached(work: Work, role: str) -> set[str]:
    """The ARNs of the policies that a role has."""
    found = work.session.client("iam").pages("list_attached_role_policies", "AttachedPolicies", RoleName=role)
    return {str(each["PolicyArn"]) for each in found}


def attach(work: Work, configuration: Configuration, role: str) -> None:
    """Give a role the node policy. Raises CloudError(NodePolicyMissing)."""
    try:
        work.session.client("iam").attach_role_policy(RoleName=role, PolicyArn=configuration.node_policy_arn)
    except AwsError as error:
        raise policy_missing(error) from error


def policy_missing(error: AwsError) -> CloudError:
    """What to say where a role cannot have the node policy because nobody made it."""
    if not error.absent:
        return error
    hint = "Validate the cloud configuration: its check “Node policy” says what to do."
    return CloudError("NodePolicyMissing", error.message, hint, permanent=True)
