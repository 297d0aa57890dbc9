"""How the portal speaks to AWS, and what it makes of refusals."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.clouds.aws import session as module
from portal.clouds.aws.errors import AwsError, refused
from portal.clouds.aws.session import Keys, Role, Session
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, REGION, Aws

WHO = "User: arn:aws:sts::222222222222:assumed-role/r/bodo-platform is not authorized to perform: "


@pytest.mark.parametrize(
    ("reason", "message", "code", "permanent", "hint"),
    [
        ("RequestLimitExceeded", "Request limit exceeded.", "Throttled", False, "tried again"),
        ("ThrottlingException", "Rate exceeded", "Throttled", False, "tried again"),
        ("LimitExceededException", "Rate exceeded for x", "Throttled", False, "tried again"),
        ("UnauthorizedOperation", f"{WHO}ec2:CreateVpc on resource: x", "PermissionDenied", True, "ec2:CreateVpc"),
        ("AccessDenied", "no", "PermissionDenied", True, "ec2:RunInstances"),
        (
            "AccessDenied",
            f"{WHO}ec2:RunInstances with an explicit deny in a service control policy",
            "PermissionDenied",
            True,
            "service control policy",
        ),
        ("AccessDenied", f"{WHO}sts:AssumeRole on resource: x", "PermissionDenied", True, "External ID"),
        ("ExpiredToken", "The security token is expired", "CredentialsExpired", False, "renewed"),
        ("AuthFailure", "AWS was not able to validate", "CredentialsInvalid", True, "keys"),
        ("InsufficientInstanceCapacity", "We have none in us-east-2a", "InsufficientCapacity", False, "another zone"),
        ("VpcLimitExceeded", "The maximum number of VPCs", "QuotaExceeded", True, "“VPCs per Region”"),
        ("VcpuLimitExceeded", "You have requested more vCPU", "QuotaExceeded", True, "vCPUs"),
        ("AddressLimitExceeded", "Too many", "QuotaExceeded", True, "Elastic IPs"),
        ("DependencyViolation", "has dependencies", "InUse", False, "still uses"),
        ("InvalidVpcID.NotFound", "does not exist", "NotFound", False, "by hand"),
        ("NoSuchEntity", "not found", "NotFound", False, "by hand"),
        ("InternalError", "sorry", "ProviderUnavailable", False, "tried again"),
        ("PermanentRedirect", "elsewhere", "WrongRegion", True, "region"),
        ("MalformedPolicyDocument", "Syntax errors", "Refused", True, ""),
    ],
)
def test_refusals_are_told_apart_by_what_to_do(
    reason: str, message: str, code: str, permanent: bool, hint: str
) -> None:
    error = refused(reason, message, "ec2", "RunInstances")
    assert (error.code, error.permanent, error.reason) == (code, permanent, reason)
    assert message in error.message, "in the provider's words"
    assert hint in error.hint


def test_what_only_aws_can_read_is_left_out() -> None:
    error = refused("UnauthorizedOperation", "No. Encoded authorization failure message: Qx3-zz", "ec2", "CreateVpc")
    assert error.message == "No."


def test_an_answer_of_500_is_aws_own_problem(aws: Aws) -> None:
    aws.fail("CreateVpc", "SomethingNew", "oops", 500)
    with pytest.raises(AwsError, match="ProviderUnavailable"):
        aws.administrator().client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
    assert aws.asked.count("CreateVpc") == 1, "what may have been done is not asked for twice"


def test_nobody_there_is_no_crash() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        session = Session(REGION, keys=Keys("a", "b"), endpoint=f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(AwsError, match="NotReachable") as caught:
            session.account()
    assert not caught.value.permanent


def test_without_an_identity_the_operator_is_asked(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AwsError, match="NoCredentials") as caught:
        Session(REGION, endpoint=aws.address).client("ec2").describe_vpcs()
    assert "operator" in caught.value.hint


@pytest.fixture
def role(aws: Aws) -> Role:
    answer = (
        aws.administrator()
        .client("iam")
        .create_role(
            RoleName="r",
            AssumeRolePolicyDocument=(
                '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
                f'"Principal": {{"AWS": "arn:aws:iam::{PLATFORM}:root"}}, '
                '"Condition": {"StringEquals": {"sts:ExternalId": "e-1"}}}]}'
            ),
        )
    )
    return Role(answer["Role"]["Arn"], "e-1")


def test_a_role_is_borrowed_once_for_many_calls_and_works_in_its_account(aws: Aws, role: Role) -> None:
    session = Session(REGION, role=role, endpoint=aws.address)
    made = session.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]
    session.client("ec2").describe_vpcs()
    assert made["OwnerId"] == CUSTOMER
    assert aws.asked.count("AssumeRole") == 2, "one of the administrator, one of the role"


def test_a_role_is_borrowed_again_before_it_runs_out(aws: Aws, role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.assume

    def short(*arguments: Any) -> dict[str, Any]:
        return {**real(*arguments), "Expiration": datetime.now(UTC) + timedelta(seconds=30)}

    monkeypatch.setattr(module, "assume", short)
    session = Session(REGION, role=role, endpoint=aws.address)
    before = aws.asked.count("AssumeRole")
    session.client("ec2").describe_vpcs()
    session.client("ec2").describe_vpcs()
    assert aws.asked.count("AssumeRole") - before >= 2


def test_a_role_that_is_no_longer_lent_is_a_refusal_like_others(aws: Aws, role: Role) -> None:
    session = Session(REGION, role=Role(role.arn, "another"), endpoint=aws.address)
    with pytest.raises(AwsError, match="PermissionDenied") as caught:
        session.client("ec2").describe_vpcs()
    assert "External ID" in caught.value.hint


def test_clients_are_made_once(aws: Aws) -> None:
    session = aws.administrator()
    assert session.client("sts") is session.client("sts")


def test_boto3_is_loaded_when_it_is_first_needed() -> None:
    """It costs memory that a portal without AWS never uses."""
    program = "import sys, portal.clouds.aws.onboarding, portal.clouds.aws.template; print('botocore' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
