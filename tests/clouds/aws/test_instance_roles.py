"""Roles of the customer's own: taken for machines of one workspace, and given back as they were."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.aws import instance_roles
from portal.clouds.aws.grants_roles import OWN_ROLES, for_role
from portal.clouds.base import CloudError, Failed, Handle, InstanceRoleSpec, Settled, Step, Target, WorkspaceSpec
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws
from tests.clouds.aws.shim_access import allowed, role_of
from tests.clouds.aws.world import DiedError, Fate, World, new_world

NAME = "bodo-machine-data"
ARN = f"arn:aws:iam::{CUSTOMER}:role/{NAME}"
ID = "5c3f8c5e-1111-4222-8333-444455556666"


def trust(service: Any = "ec2.amazonaws.com", **more: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def world(aws: Aws) -> World:
    world = new_world(aws)
    tags = [{"Key": "team", "Value": "data"}]
    iam(world).create_role(RoleName=NAME, AssumeRolePolicyDocument=trust(), Tags=tags)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    iam(world).put_role_policy(RoleName=NAME, PolicyName="data", PolicyDocument=json.dumps(policy))
    return world


@pytest.fixture
def spec(world: World) -> InstanceRoleSpec:
    return InstanceRoleSpec(ID, world.spec, {}, ARN)


def iam(world: World) -> Any:
    return world.aws.administrator().client("iam")


def advance(world: World, spec: InstanceRoleSpec, handle: Handle, target: Target) -> Step:
    step = world.cloud.advance_instance_role(spec, handle, target)
    return replace(step, handle=json.loads(json.dumps(step.handle, sort_keys=True)))


def go(world: World, spec: InstanceRoleSpec, handle: Handle | None = None, target: Target = Target.RUNNING) -> Handle:
    """Until it is settled. Raises what failed, with the handle as ``handle``."""
    handle = handle or {}
    for _ in range(60):
        step = advance(world, spec, handle, target)
        handle = step.handle
        if isinstance(step.outcome, Failed):
            step.outcome.error.handle = handle  # type: ignore[attr-defined]
            raise step.outcome.error
        if isinstance(step.outcome, Settled):
            return handle
    raise AssertionError("does not settle")


def there(world: World) -> dict[str, Any]:
    """What stands in the account of what is ours, and how the role is."""
    found = iam(world)
    role = found.get_role(RoleName=NAME)["Role"]
    profiles = found.list_instance_profiles()["InstanceProfiles"]
    return {
        "tags": {each["Key"]: each["Value"] for each in role["Tags"]},
        "attached": [
            each["PolicyArn"] for each in found.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
        ],
        "inline": found.list_role_policies(RoleName=NAME)["PolicyNames"],
        "profiles": {each["InstanceProfileName"]: [role["RoleName"] for role in each["Roles"]] for each in profiles},
    }


UNTOUCHED: dict[str, Any] = {"tags": {"team": "data"}, "attached": [], "inline": ["data"], "profiles": {}}


def taken(world: World) -> dict[str, Any]:
    return {
        "tags": {"team": "data", "portal:workspace": world.spec.id, "portal:instance-role": ID},
        "attached": [world.cloud.configuration.node_policy_arn],
        "inline": ["data"],
        "profiles": {f"portal-role-{ID}": [NAME]},
    }


def test_a_role_is_taken_and_given_back(world: World, spec: InstanceRoleSpec) -> None:
    handle = go(world, spec)
    assert there(world) == taken(world)
    profile = iam(world).get_instance_profile(InstanceProfileName=handle["steps"]["profile"]["id"])["InstanceProfile"]
    assert profile["Path"] == "/portal/"
    assert {"Key": "portal:workspace", "Value": world.spec.id} in profile["Tags"]
    assert advance(world, spec, handle, Target.RUNNING).outcome == Settled()
    assert go(world, spec, handle, Target.TERMINATED)["steps"] == {}
    assert there(world) == UNTOUCHED


def refused(world: World, spec: InstanceRoleSpec, code: str) -> CloudError:
    """What is refused, after which nothing is left and the registration can go."""
    with pytest.raises(CloudError, match=code) as caught:
        go(world, spec)
    assert caught.value.permanent
    assert caught.value.hint
    handle = caught.value.handle  # type: ignore[attr-defined]
    assert go(world, spec, handle, Target.TERMINATED)["steps"] == {}
    return caught.value


def test_a_role_that_is_not_there(world: World, spec: InstanceRoleSpec) -> None:
    other = ARN.replace(NAME, "bodo-machine-lost")
    assert f"There is no role {other}" in refused(world, replace(spec, role=other), "RoleNotFound").message
    refused(world, replace(spec, role=ARN.replace("role/", "role/of/a/team/")), "RoleNotFound")


@pytest.mark.parametrize(
    "arn",
    [
        *("", NAME, "arn:aws:iam::1:role/x", f"arn:aws:iam::{CUSTOMER}:user/x", f"{ARN}\n", f"{ARN} "),
        *(f"arn:aws:iam::{CUSTOMER}:role/portal/x", f"arn:aws:iam::{CUSTOMER}:role/aws-service-role/a.b/x"),
        *(f"arn:aws:iam::{CUSTOMER}:instance-profile/x", "arn:aws:iam::²²²²²²²²²²²²:role/x", ARN + "x" * 64),
    ],
)
def test_what_cannot_be_such_a_role_is_refused_before_aws_is_asked(
    world: World, spec: InstanceRoleSpec, arn: str
) -> None:
    world.aws.asked.clear()
    refused(world, replace(spec, role=arn), "InvalidRole")
    assert set(world.aws.asked) <= {"AssumeRole"}


def test_a_role_of_another_account(world: World, spec: InstanceRoleSpec) -> None:
    other = ARN.replace(CUSTOMER, "333333333333")
    world.aws.administrator("333333333333").client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=trust())
    error = refused(world, replace(spec, role=other), "RoleOfAnotherAccount")
    assert CUSTOMER in error.message
    assert "333333333333" in error.message


@pytest.mark.parametrize(
    "document",
    [
        trust("lambda.amazonaws.com"),
        trust(Effect="Deny"),
        trust(Action="sts:TagSession"),
        trust().replace('{"Service": "ec2.amazonaws.com"}', '{"AWS": "123456789012"}'),
    ],
)
def test_a_role_that_is_not_for_machines(world: World, spec: InstanceRoleSpec, document: str) -> None:
    iam(world).update_assume_role_policy(RoleName=NAME, PolicyDocument=document)
    refused(world, spec, "RoleNotForMachines")
    assert there(world) == UNTOUCHED


def test_a_role_for_machines_and_others(world: World, spec: InstanceRoleSpec) -> None:
    services = ["lambda.amazonaws.com", "ec2.amazonaws.com"]
    iam(world).update_assume_role_policy(RoleName=NAME, PolicyDocument=trust(services, Action=["sts:AssumeRole"]))
    go(world, spec)


def test_one_role_serves_one_workspace_once(world: World, spec: InstanceRoleSpec) -> None:
    go(world, spec)
    before = there(world)
    elsewhere = replace(spec, id="other", workspace=WorkspaceSpec("another-workspace", "Other", REGION))
    error = refused(world, elsewhere, "RoleInUse")
    assert "another workspace" in error.message
    assert world.spec.id in error.message
    assert "under another name" in refused(world, replace(spec, id="again"), "RoleInUse").message
    assert there(world) == before, "the removal of what was refused took nothing from who has it"


def test_two_workspaces_that_take_a_role_at_once(world: World, spec: InstanceRoleSpec) -> None:
    """Each saw it free. Who tagged it first is told when it comes back."""
    handle = advance(world, spec, advance(world, spec, {}, Target.RUNNING).handle, Target.RUNNING).handle
    handle = advance(world, spec, handle, Target.RUNNING).handle
    assert handle["steps"]["role"]["state"] == "ready"
    tags = [{"Key": "portal:workspace", "Value": "another-workspace"}, {"Key": "portal:instance-role", "Value": "x"}]
    iam(world).tag_role(RoleName=NAME, Tags=tags)
    with pytest.raises(CloudError, match="RoleInUse") as caught:
        go(world, spec, handle)
    go(world, spec, caught.value.handle, Target.TERMINATED)  # type: ignore[attr-defined]
    assert there(world)["tags"] == {"team": "data", **{each["Key"]: each["Value"] for each in tags}}


def test_a_role_of_another_name_needs_the_customers_word(world: World, spec: InstanceRoleSpec) -> None:
    """The statements that the refusal shows are the ones that are needed."""
    name = "DataScience"
    other = replace(spec, role=f"arn:aws:iam::{CUSTOMER}:role/{name}")
    iam(world).create_role(RoleName=name, AssumeRolePolicyDocument=trust())
    error = refused(world, other, "RoleNotAllowed")
    assert "bodo-machine-" in error.hint
    statements = json.loads(error.hint[error.hint.index(": [") + 2 :])
    configuration = world.cloud.configuration
    assert statements == json.loads(for_role(other.role, configuration.node_policy_name))
    assert all(each["Resource"] == [other.role] for each in statements)
    assert allowed(statements, "iam:PassRole", other.role, {"iam:PassedToService": ["ec2.amazonaws.com"]})
    assert not allowed(statements, "iam:PassRole", other.role, {"iam:PassedToService": ["lambda.amazonaws.com"]})
    document = {"Version": "2012-10-17", "Statement": statements}
    ours = configuration.role_arn.rpartition("/")[2]
    iam(world).put_role_policy(RoleName=ours, PolicyName="more", PolicyDocument=json.dumps(document))
    handle = go(world, other)
    go(world, other, handle, Target.TERMINATED)


def test_a_role_that_may_not_be_passed_on(world: World, spec: InstanceRoleSpec) -> None:
    world.aws.fail("AddRoleToInstanceProfile", "AccessDenied", "not authorized to perform: iam:PassRole on x", 403)
    refused(world, spec, "RoleNotAllowed")
    assert there(world) == UNTOUCHED


def test_a_role_without_the_policy_says_so(world: World, spec: InstanceRoleSpec) -> None:
    world.aws.fail("AttachRolePolicy", "NoSuchEntity", "Policy does not exist or is not attachable.", 404)
    refused(world, spec, "NodePolicyMissing")
    world.aws.fail("AttachRolePolicy", "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10", 409)
    refused(world, spec, "QuotaExceeded")
    assert there(world) == UNTOUCHED


def test_a_boundary_of_the_customers_that_is_too_narrow(world: World, spec: InstanceRoleSpec) -> None:
    only = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    arn = iam(world).create_policy(PolicyName="narrow", PolicyDocument=json.dumps(only))["Policy"]["Arn"]
    iam(world).put_role_permissions_boundary(RoleName=NAME, PermissionsBoundary=arn)
    assert "its permissions boundary forbids it" in refused(world, spec, "RoleTooNarrow").message
    iam(world).delete_role_permissions_boundary(RoleName=NAME)
    world.aws.fail("SimulatePrincipalPolicy", "AccessDenied", "no", 403)
    go(world, spec)  # where AWS does not say, machines will tell


def test_what_the_customer_took_away_meanwhile_is_no_obstacle_to_the_removal(
    world: World, spec: InstanceRoleSpec
) -> None:
    handle = go(world, spec)
    iam(world).untag_role(RoleName=NAME, TagKeys=["portal:workspace"])
    iam(world).detach_role_policy(RoleName=NAME, PolicyArn=world.cloud.configuration.node_policy_arn)
    iam(world).remove_role_from_instance_profile(InstanceProfileName=f"portal-role-{ID}", RoleName=NAME)
    go(world, spec, handle, Target.TERMINATED)
    handle = go(world, replace(spec, id="2"))
    iam(world).remove_role_from_instance_profile(InstanceProfileName="portal-role-2", RoleName=NAME)
    iam(world).detach_role_policy(RoleName=NAME, PolicyArn=world.cloud.configuration.node_policy_arn)
    iam(world).delete_role_policy(RoleName=NAME, PolicyName="data")
    iam(world).delete_role(RoleName=NAME)
    go(world, replace(spec, id="2"), handle, Target.TERMINATED)
    assert iam(world).list_instance_profiles()["InstanceProfiles"] == []


def test_the_permissions_are_what_is_really_called(world: World, spec: InstanceRoleSpec) -> None:
    go(world, spec, go(world, spec), Target.TERMINATED)
    called = {action for action in world.cloud.fate.permissions if action.startswith("iam:")}
    names = {action for grant in OWN_ROLES for action in grant.actions}
    assert names - called == {"iam:PassRole"}, "these are allowed for nothing"
    assert role_of(world.cloud.configuration.role_arn)  # whose inline policy every call above was held against


def test_the_guide_names_each_reason() -> None:
    reasons = set(re.findall(r'_no\("(\w+)"', Path(instance_roles.__file__).read_text())) | {"NodePolicyMissing"}
    guide = Path("docs/aws.md").read_text().partition("### Roles of your own")[2].partition("\n##")[0]
    assert set(re.findall(r"^\| `(\w+)`", guide, re.MULTILINE)) == reasons


# --- Dying at every point ---------------------------------------------------------------------------------------------


def until_death(
    world: World, spec: InstanceRoleSpec, at: int, after: bool, handle: Handle, target: Target
) -> tuple[Handle, bool]:
    world.cloud.fate = Fate(at, after, permissions=world.cloud.fate.permissions)
    try:
        for _ in range(60):
            step = advance(world, spec, handle, target)
            assert not isinstance(step.outcome, Failed), step.outcome
            handle = step.handle
            if isinstance(step.outcome, Settled):
                return handle, False
    except DiedError:
        return handle, True
    finally:
        world.cloud.fate = Fate(permissions=world.cloud.fate.permissions)
    raise AssertionError("does not settle")


@pytest.mark.parametrize("after", [False, True])
def test_dying_at_every_call_leaves_nothing_twice_and_nothing_behind(
    world: World, spec: InstanceRoleSpec, after: bool
) -> None:
    deaths = 0
    for number in range(20):
        for goes_on in (True, False):
            handle, died = until_death(world, spec, number, after, {}, Target.RUNNING)
            deaths += died
            if goes_on:
                handle = go(world, spec, handle)
                assert there(world) == taken(world)
            assert go(world, spec, handle, Target.TERMINATED)["steps"] == {}
            assert there(world) == UNTOUCHED
        whole = go(world, spec)
        handle, died_leaving = until_death(world, spec, number, after, whole, Target.TERMINATED)
        deaths += died_leaving
        assert go(world, spec, handle, Target.TERMINATED)["steps"] == {}
        assert there(world) == UNTOUCHED
        if not died and not died_leaving:
            break
    assert deaths >= 12
