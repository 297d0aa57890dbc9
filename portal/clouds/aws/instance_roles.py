"""Roles that a customer made, so that machines of one workspace reach what else is the customer's.

    role      looked at, and tagged with its workspace: the node policy goes by that tag, so a role serves one of them
    policy    the node policy attached, without which its machines could not be commanded
    profile   an instance profile of ours with the role in it, which is what machines are launched with

All of it is taken off again in the end. What the customer gave the role stays as it is, and so does the role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from portal.clouds import plan
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.grants import TAG
from portal.clouds.aws.grants_roles import OWN_ROLE_PREFIX, OWN_ROLE_TAG, for_role
from portal.clouds.aws.identity import NodeProfile, ask, attach, attached
from portal.clouds.aws.resources import AGAIN, Resource, Work, vanished
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError, Event, Handle, InstanceRoleSpec, Pending, Step, Target

MACHINES = "ec2.amazonaws.com"

_ARN = re.compile(r"arn:aws:iam::(\d{12}):role(/(?:[\x21-\x7e]+/)?)([\w+=,.@-]{1,64})")


def advance(
    session: Session,
    configuration: Configuration,
    spec: InstanceRoleSpec,
    handle: Handle,
    target: Target,
    *,
    poll: float,
    lag: float,
) -> Step:
    """One step toward a role that machines can have, or toward a role as it was before. Errors come as ``Failed``."""
    work = Work(session, spec.workspace.id, spec.workspace.name, handle.get("steps", {}))
    steps: list[plan.PlanStep] = [kind(work, configuration, spec) for kind in (OwnRole, OwnPolicy, OwnProfile)]
    return plan.advance([] if target is Target.TERMINATED else steps, steps, handle, poll=poll, lag=lag)


class OwnRole(Resource):
    """The role itself, found and tagged. It is absent for us once our tags are off it."""

    name, label, group = "role", "role of yours", "role"

    def __init__(self, work: Work, configuration: Configuration, spec: InstanceRoleSpec) -> None:
        super().__init__(work)
        self.configuration, self.spec = configuration, spec

    @property
    def role(self) -> str:
        """Its name."""
        return self.spec.role.rpartition("/")[2]

    def find(self) -> str | None:
        """Its ARN, once it carries our tags."""
        return self.spec.role if self.look(self.spec.role) else None

    def create(self) -> str:
        """Tag it. Raises CloudError where it cannot be the role of these machines, with the reason."""
        self.examine()
        self._tag()
        return self.spec.role

    def ready(self, id: str) -> bool | Pending | Event:
        """Once all tags show."""
        seen = self.examine()
        if self._tags.items() <= _tags_of(seen).items():
            return True
        self._tag()
        return False

    def look(self, id: str) -> Mapping[str, Any] | None:
        """The role with our tags. A role that the portal may no longer look at is the customer's again."""
        try:
            seen = self._role()
        except CloudError as error:
            if error.code in {"PermissionDenied", "InvalidRole"}:
                return None
            raise
        return seen if seen and _tags_of(seen).get(OWN_ROLE_TAG) == self.spec.id else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Take the tags off."""
        self.work.session.client("iam").untag_role(RoleName=self.role, TagKeys=list(self._tags))

    def examine(self) -> Mapping[str, Any]:
        """The role. Raises CloudError(InvalidRole, RoleOfAnotherAccount, RoleNotFound, RoleNotForMachines, RoleInUse,
        RoleNotAllowed) where the role cannot be had."""
        arn = self.spec.role
        account = self._parts()[0]
        if account != self.configuration.account:
            message = (
                f"{arn} is a role of account {account}; this workspace is in account {self.configuration.account}."
            )
            raise _no("RoleOfAnotherAccount", message, "Make the role in the account of the workspace.")
        try:
            seen = self._role()
        except AwsError as error:
            raise refusal(self, error) from error
        if seen is None:
            raise _no("RoleNotFound", f"There is no role {arn}.", "Copy the ARN from the summary of the role in AWS.")
        if not _trusts_machines(seen):
            message = f"The trust policy of {self.role} does not let EC2 give it to machines."
            hint = "Choose AWS service and EC2 as the trusted entity, as for a new role for EC2."
            raise _no("RoleNotForMachines", message, hint)
        taken = {key: value for key, value in _tags_of(seen).items() if self._tags.get(key, value) != value}
        if taken:
            where = "another workspace" if TAG in taken else "this workspace under another name"
            hint = (
                f"Make a role of its own for each workspace. If nothing uses it any more, remove the tags {TAG} and "
                f"{OWN_ROLE_TAG} from the role in AWS, then try again."
            )
            raise _no("RoleInUse", f"{self.role} is in use by {where} ({_listed(taken)}).", hint)
        return seen

    def _tag(self) -> None:
        tags = [{"Key": key, "Value": value} for key, value in self._tags.items()]
        with_refusal(self, "tag_role", RoleName=self.role, Tags=tags)

    @property
    def _tags(self) -> dict[str, str]:
        return {TAG: self.spec.workspace.id, OWN_ROLE_TAG: self.spec.id}

    def _role(self) -> Mapping[str, Any] | None:
        """The role as IAM describes it, where its whole ARN is the one that was entered."""
        self._parts()
        seen = ask(self.work, "get_role", "Role", RoleName=self.role)
        return seen if seen and seen["Arn"] == self.spec.role else None

    def _parts(self) -> tuple[str, str]:
        found = _ARN.fullmatch(self.spec.role)
        if not found or found[2].startswith(("/portal/", "/aws-service-role/")):
            hint = "Copy it from the summary of the role: arn:aws:iam::123456789012:role/bodo-machine-data."
            raise _no("InvalidRole", f"{self.spec.role!r} is not the ARN of a role of yours.", hint)
        return found[1], found[3]


class OwnPolicy(OwnRole):
    """The node policy on the role."""

    name, label, group = "policy", "policy on the role", "policy"

    def create(self) -> str:
        """Attach it."""
        try:
            attach(self.work, self.configuration, self.role)
        except AwsError as error:
            raise refusal(self, error) from error
        return self.spec.role

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is attached and nothing of the customer's forbids what it allows."""
        if self.look(id) is None:
            raise vanished("the policy on", self.role)
        by = self._forbidden_by()
        if by:
            message = f"{self.role} may not do what machines need: {by} forbids it."
            raise _no("RoleTooNarrow", message, "Allow there what the node policy allows, then try again.")
        return True

    def look(self, id: str) -> Mapping[str, Any] | None:
        """Whether the role has it."""
        try:
            there = self._role() and self.configuration.node_policy_arn in attached(self.work, self.role)
        except CloudError as error:
            if error.code in {"PermissionDenied", "InvalidRole", "NotFound"}:
                return None
            raise
        return {"PolicyArn": self.configuration.node_policy_arn} if there else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Detach it."""
        self.work.session.client("iam").detach_role_policy(RoleName=self.role, PolicyArn=seen["PolicyArn"])

    def _forbidden_by(self) -> str:
        """What stands above the role's own policies, as AWS's policy simulator sees it; empty where nothing does, or
        where it does not tell."""
        try:
            results = self.work.session.client("iam").simulate_principal_policy(
                PolicySourceArn=self.spec.role, ActionNames=["ssm:UpdateInstanceInformation"]
            )["EvaluationResults"]
        except AwsError:
            return ""
        for each in results:
            if each.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary") is False:
                return "its permissions boundary"
            if each.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations") is False:
                return "a service control policy of your AWS organization"
        return ""


class OwnProfile(NodeProfile):
    """What machines are launched with in place of the role."""

    name, label, group = "profile", "instance profile", "profile"

    def __init__(self, work: Work, configuration: Configuration, spec: InstanceRoleSpec) -> None:
        super().__init__(work)
        self.own = OwnRole(work, configuration, spec)

    @property
    def profile(self) -> str:
        """Its name."""
        return f"portal-role-{self.own.spec.id}"

    def ready(self, id: str) -> bool | Pending | Event:
        """Once the role is in it. Two workspaces that tagged one role at the same time both come here."""
        self.own.examine()
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        if seen["Roles"]:
            return True
        with_refusal(self.own, "add_role_to_instance_profile", InstanceProfileName=id, RoleName=self.own.role)
        return AGAIN


def with_refusal(step: OwnRole, call: str, **arguments: Any) -> None:
    """Change something about a role. Raises CloudError(RoleNotAllowed) where AWS does not let the portal."""
    try:
        getattr(step.work.session.client("iam"), call)(**arguments)
    except AwsError as error:
        raise refusal(step, error) from error


def refusal(step: OwnRole, error: AwsError) -> CloudError:
    """What to do where the customer has not allowed the role for machines."""
    if error.code != "PermissionDenied":
        return error
    hint = (
        f"The portal may give machines only roles that you allow for it. Either give the role a name that begins with "
        f"{OWN_ROLE_PREFIX}, or add these statements to the policy of {step.configuration.role_arn}: "
        f"{for_role(step.spec.role, step.configuration.node_policy_name)}"
    )
    return _no("RoleNotAllowed", error.message, hint)


def _trusts_machines(role: Mapping[str, Any]) -> bool:
    statements = role["AssumeRolePolicyDocument"]["Statement"]
    return any(
        each["Effect"] == "Allow"
        and isinstance(each.get("Principal"), Mapping)
        and MACHINES in _list(each["Principal"].get("Service", []))
        and any(action in {"sts:AssumeRole", "sts:*", "*"} for action in _list(each.get("Action", [])))
        for each in ([statements] if isinstance(statements, Mapping) else statements)
    )


def _tags_of(role: Mapping[str, Any]) -> dict[str, str]:
    return {str(each["Key"]): str(each["Value"]) for each in role.get("Tags", [])}


def _listed(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key} is {value}" for key, value in tags.items())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _no(code: str, message: str, hint: str) -> CloudError:
    return CloudError(code, message, hint, permanent=True)
