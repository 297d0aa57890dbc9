"""What machines may do, and that whoever holds the portal's role gets no further."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from portal.clouds.aws import checks, node_policy
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session
from portal.clouds.base import Check, CloudError, Target
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws, connected
from tests.clouds.aws.shim_access import allowed, role_of
from tests.clouds.aws.world import World, new_world

EVERYTHING = "arn:aws:iam::aws:policy/AdministratorAccess"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)


@pytest.fixture
def configuration(aws: Aws) -> Configuration:
    aws.quotas = {"L-F678F1CE": 5, "L-0263D0A3": 5, "L-1216C47A": 32}
    return connected(aws)


@pytest.fixture
def thief(aws: Aws, configuration: Configuration) -> Any:
    """IAM in the hands of somebody who holds the portal's role."""
    return Session(REGION, role=configuration.role, endpoint=aws.address).client("iam")


def test_it_fits_into_a_managed_policy() -> None:
    text = json.dumps(json.loads(node_policy.filled_node_policy("b" * 63)), separators=(",", ":"))
    assert "$$" not in text
    assert len(text) < node_policy.LIMIT


def test_nothing_is_allowed_by_a_pattern_of_actions() -> None:
    assert not [action for grant in node_policy.STATEMENTS for action in grant.actions if "*" in action]


FOLDER = "arn:aws:s3:::b/workspaces"


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        ("s3:PutObject", f"{FOLDER}/one/runs/1/exit.json", {}, True),
        ("s3:PutObject", f"{FOLDER}/two/runs/1/exit.json", {}, False),
        ("s3:PutObject", f"{FOLDER}/one/state.json", {}, False),
        ("s3:PutObject", f"{FOLDER}/one/node/x.tar.gz", {}, False),
        ("s3:GetObject", f"{FOLDER}/one/node/x.tar.gz", {}, True),
        ("s3:GetObject", f"{FOLDER}/two/node/x.tar.gz", {}, False),
        ("s3:DeleteObject", f"{FOLDER}/one/runs/1/exit.json", {}, False),
        ("s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": ["workspaces/one/runs/1/"]}, False),
        ("elasticfilesystem:ClientMount", "*", {"aws:ResourceTag/portal:workspace": ["one"]}, False),
        ("ssm:GetParameter", "arn:aws:ssm:us-east-2:2:parameter/portal/one/ssh-key", {}, True),
        ("ssm:GetParameter", "arn:aws:ssm:us-east-2:2:parameter/portal/two/ssh-key", {}, False),
        ("kms:Decrypt", "arn:aws:kms:us-east-2:2:key/k", {"aws:ResourceTag/portal:workspace": ["one"]}, True),
        ("kms:Decrypt", "arn:aws:kms:us-east-2:2:key/k", {"aws:ResourceTag/portal:workspace": ["two"]}, False),
        ("kms:Decrypt", "arn:aws:kms:us-east-2:2:key/k", {}, False),
        ("ssm:UpdateInstanceInformation", "*", {}, True),
        ("iam:CreateRole", "*", {}, False),
        ("ec2:DeleteNetworkInterface", "*", {"aws:PrincipalTag/portal:step": ["node-role"]}, False),
        ("ec2:DeleteNetworkInterface", "*", {"aws:PrincipalTag/portal:step": ["files-role"]}, True),
        (
            "ec2:DeleteNetworkInterface",
            "*",
            {"aws:PrincipalTag/portal:step": ["files-role"], "lambda:SourceFunctionArn": ["arn:…"]},
            False,
        ),
    ],
)
def test_what_a_machine_of_a_workspace_may_do(
    aws: Aws, action: str, resource: str, context: dict[str, list[str]], expected: bool
) -> None:
    """``action`` on ``resource`` by a role that is tagged with the workspace ``one``."""
    statements = json.loads(node_policy.filled_node_policy("b"))["Statement"]
    iam = aws.administrator().client("iam")
    tags = [{"Key": "portal:workspace", "Value": "one"}]
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=TRUST, Tags=tags)
    iam.create_role(RoleName="untagged", AssumeRolePolicyDocument=TRUST)
    role = role_of(f"arn:aws:iam::{CUSTOMER}:role/r")
    assert allowed(statements, action, resource, context, role) is expected
    if "one" in f"{resource}{context}":
        assert not allowed(statements, action, resource, context, role_of(f"arn:aws:iam::{CUSTOMER}:role/untagged"))


# --- Whoever holds the portal's role ----------------------------------------------------------------------------------


def test_a_role_of_machines_has_the_policy_as_its_boundary(thief: Any, configuration: Configuration) -> None:
    thief.create_role(
        RoleName="x",
        Path="/portal/",
        AssumeRolePolicyDocument=TRUST,
        PermissionsBoundary=configuration.node_policy_arn,
    )
    thief.attach_role_policy(RoleName="x", PolicyArn=configuration.node_policy_arn)


Attempt = Callable[[Any, str], Any]
ATTEMPTS: dict[str, Attempt] = {
    "a role without a boundary": lambda iam, policy: iam.create_role(
        RoleName="x", Path="/portal/", AssumeRolePolicyDocument=TRUST
    ),
    "a role with a wide boundary": lambda iam, policy: iam.create_role(
        RoleName="x", Path="/portal/", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=EVERYTHING
    ),
    "a role elsewhere": lambda iam, policy: iam.create_role(
        RoleName="x", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=policy
    ),
    "another policy for a role": lambda iam, policy: iam.attach_role_policy(
        RoleName="portal-there", PolicyArn=EVERYTHING
    ),
    "a policy inside a role": lambda iam, policy: iam.put_role_policy(
        RoleName="portal-there", PolicyName="x", PolicyDocument="{}"
    ),
    "the boundary off": lambda iam, policy: iam.delete_role_permissions_boundary(RoleName="portal-there"),
    "another boundary": lambda iam, policy: iam.put_role_permissions_boundary(
        RoleName="portal-there", PermissionsBoundary=EVERYTHING
    ),
    "other words in the policy": lambda iam, policy: iam.create_policy_version(
        PolicyArn=policy, PolicyDocument="{}", SetAsDefault=True
    ),
    "the policy for a role of somebody else": lambda iam, policy: iam.attach_role_policy(
        RoleName="administrators", PolicyArn=policy
    ),
    "our tag on a role of somebody else": lambda iam, policy: iam.tag_role(
        RoleName="administrators", Tags=[{"Key": "portal:workspace", "Value": "w"}]
    ),
    "another tag on a role for machines": lambda iam, policy: iam.tag_role(
        RoleName="bodo-machine-s3", Tags=[{"Key": "team", "Value": "admins"}]
    ),
    "a role of somebody else gone": lambda iam, policy: iam.delete_role(RoleName="bodo-machine-s3"),
    "more for itself": lambda iam, policy: iam.put_role_policy(
        RoleName="bodo-platform", PolicyName="x", PolicyDocument="{}"
    ),
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_whoever_holds_the_portals_role_may_not(
    aws: Aws, configuration: Configuration, thief: Any, name: str
) -> None:
    """As the statements of the policy say. That AWS keeps to them is AWS's word."""
    iam = aws.administrator().client("iam")
    boundary = {"PermissionsBoundary": configuration.node_policy_arn}
    iam.create_role(RoleName="portal-there", Path="/portal/", AssumeRolePolicyDocument=TRUST, **boundary)
    for role in ("administrators", "bodo-machine-s3"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
    with pytest.raises(AwsError, match="PermissionDenied"):
        ATTEMPTS[name](thief, configuration.node_policy_arn)


# --- VALIDATE ---------------------------------------------------------------------------------------------------------


def found(aws: Aws, configuration: Configuration) -> Check:
    return next(check for check in checks.check(configuration, aws.address) if check.name == "Node policy")


def say(aws: Aws, configuration: Configuration, document: dict[str, Any]) -> None:
    aws.administrator().client("iam").create_policy_version(
        PolicyArn=configuration.node_policy_arn, PolicyDocument=json.dumps(document), SetAsDefault=True
    )


def test_what_differs_is_named(aws: Aws, configuration: Configuration) -> None:
    assert found(aws, configuration).passed
    document = json.loads(node_policy.filled_node_policy(configuration.bucket))
    document["Statement"] = [each for each in document["Statement"] if each["Sid"] != "Decrypt"]
    document["Statement"][0]["Action"].append("iam:CreateUser")
    document["Statement"].append({"Effect": "Allow", "Action": "*", "Resource": "*"})
    say(aws, configuration, document)
    check = found(aws, configuration)
    assert not check.passed
    last = f"statement {len(node_policy.STATEMENTS)} is too much"
    for words in ("SystemsManager is not as it should be", "Decrypt is missing", last):
        assert words in check.detail
    assert configuration.node_policy_name in check.hint


def test_order_and_single_values_do_not_count(aws: Aws, configuration: Configuration) -> None:
    document = json.loads(node_policy.filled_node_policy(configuration.bucket))
    document["Statement"].reverse()
    for statement in document["Statement"]:
        statement["Action"] = statement["Action"][::-1] if len(statement["Action"]) > 1 else statement["Action"][0]
    say(aws, configuration, document)
    assert found(aws, configuration).passed


def test_a_policy_for_another_bucket_is_found(aws: Aws, configuration: Configuration) -> None:
    say(aws, configuration, json.loads(node_policy.filled_node_policy("another")))
    assert "Runs is not as it should be" in found(aws, configuration).detail


def test_only_the_version_that_counts_is_looked_at(aws: Aws, configuration: Configuration) -> None:
    say(aws, configuration, json.loads(node_policy.filled_node_policy("another")))
    assert not found(aws, configuration).passed
    arn = configuration.node_policy_arn
    aws.administrator().client("iam").set_default_policy_version(PolicyArn=arn, VersionId="v1")
    assert found(aws, configuration).passed


def test_a_policy_that_is_not_there(aws: Aws, configuration: Configuration) -> None:
    aws.administrator().client("iam").delete_policy(PolicyArn=configuration.node_policy_arn)
    check = found(aws, configuration)
    assert not check.passed
    assert f"create a policy of the name {configuration.node_policy_name}" in check.hint


# --- Workspaces -------------------------------------------------------------------------------------------------------


def test_a_workspace_without_it_says_what_to_do(aws: Aws) -> None:
    world: World = new_world(aws)
    arn = world.cloud.configuration.node_policy_arn
    iam = aws.administrator().client("iam")
    document = json.dumps(iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"])
    iam.delete_policy(PolicyArn=arn)
    with pytest.raises(CloudError, match="NodePolicyMissing") as caught:
        world.go()
    assert caught.value.permanent
    assert "Node policy" in caught.value.hint
    iam.create_policy(PolicyName=world.cloud.configuration.node_policy_name, PolicyDocument=document)
    handle = world.go(handle=caught.value.handle)  # type: ignore[attr-defined]
    with pytest.raises(AwsError, match="InUse"):
        iam.delete_policy(PolicyArn=arn)
    world.go(Target.TERMINATED, handle)
    iam.delete_policy(PolicyArn=arn)


def test_nothing_that_somebody_else_gave_a_role_of_ours_is_lost(aws: Aws) -> None:
    world: World = new_world(aws)
    handle = world.go()
    iam = aws.administrator().client("iam")
    role = handle["steps"]["node-role"]["id"]
    theirs = iam.create_policy(PolicyName="theirs", PolicyDocument=json.dumps(node_policy.document()))
    iam.attach_role_policy(RoleName=role, PolicyArn=theirs["Policy"]["Arn"])
    with pytest.raises(CloudError, match="InUse") as caught:
        world.go(Target.TERMINATED, handle)
    iam.detach_role_policy(RoleName=role, PolicyArn=theirs["Policy"]["Arn"])
    world.go(Target.TERMINATED, caught.value.handle)  # type: ignore[attr-defined]
