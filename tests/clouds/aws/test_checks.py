"""VALIDATE: each check by itself, passed and failed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portal.clouds.aws import checks
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.onboarding import POLICY_NAME
from portal.clouds.aws.permissions import GRANTS, filled_policy
from portal.clouds.aws.session import assume
from portal.clouds.base import Check
from tests.clouds.aws.cloud import PLATFORM, Aws, connected


@pytest.fixture
def configuration(aws: Aws) -> Configuration:
    aws.quotas = {"L-F678F1CE": 5, "L-0263D0A3": 5, "L-1216C47A": 32}
    return connected(aws)


def failed(aws: Aws, configuration: Configuration) -> dict[str, Check]:
    found = checks.check(configuration, aws.address)
    for check in found:
        assert check.detail
        assert check.passed or check.hint, f"{check.name} does not say what to do"
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    return {check.name: check for check in found if not check.passed}


def test_an_account_as_the_portal_makes_it_passes_all(aws: Aws, configuration: Configuration) -> None:
    assert failed(aws, configuration) == {}
    names = [check.name for check in checks.check(configuration, aws.address)]
    first = ["Names", "Role", "External ID", "Bucket", "Bucket region", "Bucket versioning", "Bucket not public"]
    assert names[:10] == [*first, "Table", "Table key", "Node policy"]
    assert len(names) == 10 + len(GRANTS) + 3


def test_looking_changes_nothing(aws: Aws, configuration: Configuration) -> None:
    aws.asked.clear()
    checks.check(configuration, aws.address)
    assert {each for each in aws.asked if not each.startswith(("Describe", "Get", "List", "Head"))} == {
        "AssumeRole",
        "SimulatePrincipalPolicy",
    }


def test_a_role_that_is_not_lent_ends_the_questions(aws: Aws, configuration: Configuration) -> None:
    other = replace(configuration, external_id="of-somebody-else")
    assert list(failed(aws, other)) == ["Role"]
    assert "External ID" in failed(aws, other)["Role"].hint
    assert len(checks.check(other, aws.address)) == 2


def test_a_role_that_everybody_gets_is_found(aws: Aws, configuration: Configuration) -> None:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{PLATFORM}:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    aws.administrator().client("iam").update_assume_role_policy(
        RoleName=configuration.role_arn.rpartition("/")[2], PolicyDocument=json.dumps(trust)
    )
    assert list(failed(aws, configuration)) == ["External ID"]
    assert "sts:ExternalId" in failed(aws, configuration)["External ID"].hint


def test_an_error_is_no_proof_that_the_external_id_counts(aws: Aws, configuration: Configuration) -> None:

    def broken(role: Any, *arguments: str) -> Any:
        if role.external_id is None:
            aws.fail("AssumeRole", "Throttling", "Rate exceeded")
        return assume(role, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "assume", broken)
        assert list(failed(aws, configuration)) == ["External ID"]


def test_a_bucket_that_is_not_there(aws: Aws, configuration: Configuration) -> None:
    other = replace(configuration, bucket="nowhere-to-be-found")
    assert "Bucket" in failed(aws, other)
    assert "name" in failed(aws, other)["Bucket"].hint


def test_a_bucket_of_another_account(aws: Aws, configuration: Configuration) -> None:
    place = {"LocationConstraint": configuration.region}
    aws.administrator("333333333333").client("s3").create_bucket(Bucket="theirs", CreateBucketConfiguration=place)
    found = failed(aws, replace(configuration, bucket="theirs"))["Bucket"]
    assert "belong to the account" in found.hint


def test_a_bucket_in_another_region(aws: Aws, configuration: Configuration) -> None:
    place = {"LocationConstraint": "us-west-1"}
    aws.administrator(region="us-west-1").client("s3").create_bucket(Bucket="far-away", CreateBucketConfiguration=place)
    found = failed(aws, replace(configuration, bucket="far-away"))["Bucket region"]
    assert found.detail == "far-away is in us-west-1."
    assert configuration.region in found.hint


def test_a_bucket_without_versions_and_open_to_the_world(aws: Aws, configuration: Configuration) -> None:
    s3 = aws.administrator().client("s3")
    s3.put_bucket_versioning(Bucket=configuration.bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_public_access_block(
        Bucket=configuration.bucket,
        PublicAccessBlockConfiguration={"BlockPublicAcls": True, "IgnorePublicAcls": True},
    )
    found = failed(aws, configuration)
    assert list(found) == ["Bucket versioning", "Bucket not public"]
    assert found["Bucket not public"].detail == "These are off: BlockPublicPolicy, RestrictPublicBuckets."
    s3.delete_public_access_block(Bucket=configuration.bucket)
    assert "BlockPublicAcls" in failed(aws, configuration)["Bucket not public"].detail


@pytest.mark.parametrize(
    ("names", "kinds"),
    [(["LockId"], ["S"]), (["LockID"], ["N"]), (["LockID", "when"], ["S", "S"])],
)
def test_a_table_with_another_key(aws: Aws, configuration: Configuration, names: list[str], kinds: list[str]) -> None:
    aws.administrator().client("dynamodb").create_table(
        TableName="other",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in zip(names, kinds, strict=True)
        ],
        KeySchema=[
            {"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ["HASH", "RANGE"], strict=False)
        ],
    )
    found = failed(aws, replace(configuration, table="other"))
    assert names[0] in found["Table key"].detail
    assert "LockID" in found["Table key"].hint


def test_a_table_that_is_not_there(aws: Aws, configuration: Configuration) -> None:
    assert configuration.region in failed(aws, replace(configuration, table="missing"))["Table"].hint


def put_policy(aws: Aws, configuration: Configuration, document: dict[str, Any]) -> None:
    aws.administrator().client("iam").put_role_policy(
        RoleName=configuration.role_arn.rpartition("/")[2],
        PolicyName=POLICY_NAME,
        PolicyDocument=json.dumps(document),
    )


def test_each_permission_that_is_missing_is_named(aws: Aws, configuration: Configuration) -> None:
    document = json.loads(filled_policy(configuration.bucket, configuration.table_arn, configuration.node_policy_name))
    lacking = {statement["Sid"]: statement["Action"].pop() for statement in document["Statement"]}
    document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
    put_policy(aws, configuration, document)
    found = {name: check.detail for name, check in failed(aws, configuration).items()}
    assert "iam:GetPolicyVersion" in found.pop("Node policy")
    assert found == {f"Permission to {grant.purpose}": f"Missing: {lacking[grant.name]}." for grant in GRANTS}


def test_a_policy_for_another_bucket_is_found(aws: Aws, configuration: Configuration) -> None:
    put_policy(
        aws,
        configuration,
        json.loads(filled_policy("another", configuration.table_arn, configuration.node_policy_name)),
    )
    assert "Permission to keep the state of deployments" in failed(aws, configuration)


def test_a_role_that_may_not_ask_about_itself_says_so(aws: Aws, configuration: Configuration) -> None:
    aws.fail("SimulatePrincipalPolicy", "AccessDenied", "No.", 403, times=2)
    found = failed(aws, configuration)
    assert list(found) == ["Permissions"]
    assert "iam:SimulatePrincipalPolicy" in found["Permissions"].hint


def test_quotas_count_what_is_used(aws: Aws, configuration: Configuration) -> None:
    aws.quotas = {"L-F678F1CE": 1, "L-0263D0A3": 1, "L-1216C47A": 1}
    aws.administrator().client("ec2").allocate_address(Domain="vpc")
    found = failed(aws, configuration)
    assert list(found) == ["Quota: VPCs", "Quota: Elastic IPs", "Quota: vCPUs of standard On-Demand instances"]
    assert found["Quota: Elastic IPs"].detail == "1 allowed, 1 used, 1 needed."
    assert "L-0263D0A3" in found["Quota: Elastic IPs"].hint


def test_quotas_that_aws_does_not_tell_refuse_nobody(aws: Aws, configuration: Configuration) -> None:
    aws.fail("GetServiceQuota", "NoSuchResourceException", "Not here.", times=3)
    assert failed(aws, configuration) == {}
