"""A cloud configuration made with access keys."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from typing import Any

import pytest

from portal.clouds.aws import onboarding
from portal.clouds.aws.configuration import Configuration, new_external_id, refuse_misspelt
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.node_policy import differences, filled_node_policy
from portal.clouds.aws.onboarding import Onboarding
from portal.clouds.aws.session import Keys, Role, Session, assume
from portal.clouds.base import CloudError, Failed, Handle, Settled
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, REGION, Aws
from tests.clouds.aws.world import DiedError, Fate, MortalSession

ID = "0b3f8c5e-1111-4222-8333-444455556666"


@pytest.fixture
def work(aws: Aws) -> Onboarding:
    return onboarding.begin(aws.administrator(), ID, new_external_id(), PLATFORM)


def finish(work: Onboarding, handle: Handle, *, wanted: bool = True) -> Handle:
    for _ in range(50):
        step = work.advance(handle, wanted=wanted)
        handle = json.loads(json.dumps(step.handle))
        if isinstance(step.outcome, Failed):
            raise step.outcome.error
        if isinstance(step.outcome, Settled):
            return handle
    raise AssertionError("does not settle")


def test_three_things_are_made_as_the_guide_says(work: Onboarding) -> None:
    finish(work, {})
    made, session = work.configuration, work.session
    s3 = session.client("s3")
    assert made.account == CUSTOMER
    assert made.bucket == f"bodo-platform-{uuid.UUID(ID).hex}"
    assert s3.get_bucket_location(Bucket=made.bucket)["LocationConstraint"] == REGION
    assert s3.get_bucket_versioning(Bucket=made.bucket)["Status"] == "Enabled"
    closed = s3.get_public_access_block(Bucket=made.bucket)["PublicAccessBlockConfiguration"]
    assert len(closed) == 4
    assert all(closed.values())
    rules = s3.get_bucket_encryption(Bucket=made.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_tagging(Bucket=made.bucket)["TagSet"] == [{"Key": "portal:configuration", "Value": ID}]
    table = session.client("dynamodb").describe_table(TableName=made.table)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "LockID", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "LockID", "AttributeType": "S"}]
    assert table["TableArn"] == made.table_arn
    assert assume(made.role, REGION, session.endpoint)["AccessKeyId"]


def test_the_role_is_lent_only_with_its_external_id(work: Onboarding) -> None:
    finish(work, {})
    for external_id in (None, new_external_id()):
        with pytest.raises(AwsError, match="PermissionDenied") as caught:
            assume(Role(work.configuration.role_arn, external_id), REGION, work.session.endpoint)
        assert "External ID" in caught.value.hint


def test_nothing_that_is_kept_printed_or_logged_has_the_keys(
    aws: Aws, work: Onboarding, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = aws.keys()
    session = Session(REGION, keys=keys, endpoint=aws.address)
    mine = onboarding.begin(session, ID, new_external_id(), PLATFORM)
    handle = finish(mine, {})
    shown = f"{json.dumps(handle)} {keys} {session} {mine} {mine.configuration} {caplog.text}"
    assert "PUT /" in caplog.text, "this test would see what is logged"
    for secret in (keys.access_key_id, keys.secret_access_key, keys.session_token):
        assert secret
        assert secret not in shown


def test_a_policy_of_an_older_portal_is_brought_up_to_date(work: Onboarding) -> None:
    """Also where AWS keeps no further version of it."""
    iam, arn = work.session.client("iam"), work.configuration.node_policy_arn
    document = filled_node_policy("another")
    iam.create_policy(PolicyName=work.configuration.node_policy_name, PolicyDocument=document)
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)
    finish(work, {})
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert differences(found, work.configuration.bucket) == []
    assert len(iam.list_policy_versions(PolicyArn=arn)["Versions"]) == 2
    finish(work, finish(work, {}), wanted=False)
    assert made(work) == [0, 0, 0, 0]


def test_what_was_made_is_removed_again_when_it_is_not_wanted(work: Onboarding) -> None:
    handle = finish(work, finish(work, {}), wanted=False)
    assert handle == {"steps": {}}
    assert work.session.client("s3").list_buckets()["Buckets"] == []
    assert work.session.client("dynamodb").list_tables()["TableNames"] == []
    assert work.session.client("iam").list_roles()["Roles"] == []


def test_dying_at_every_call_leaves_nothing_twice_and_nothing_behind(aws: Aws, work: Onboarding) -> None:
    """Who comes next has the keys again, and the handle that was stored last."""

    def after_death(number: int, after: bool) -> tuple[Handle, bool]:
        session = MortalSession(REGION, keys=aws.keys(), endpoint=aws.address)
        session.fate = Fate(number, after)
        mortal = replace(work, session=session)
        handle: Handle = {}
        try:
            for _ in range(50):
                step = mortal.advance(handle)
                handle = json.loads(json.dumps(step.handle))
                if isinstance(step.outcome, Settled):
                    return handle, False
        except DiedError:
            return handle, True
        raise AssertionError("does not settle")

    for number in range(20):
        for after, goes_on in ((False, False), (True, False), (True, True)):
            handle, died = after_death(number, after)
            if goes_on:
                handle = finish(work, handle)
                assert made(work) == [1, 1, 1, 1]
            assert finish(work, handle, wanted=False) == {"steps": {}}
            assert made(work) == [0, 0, 0, 0]
        if not died:
            break
    assert number >= 7


def made(work: Onboarding) -> list[int]:
    buckets = work.session.client("s3").list_buckets()["Buckets"]
    tables = work.session.client("dynamodb").list_tables()["TableNames"]
    iam = work.session.client("iam")
    policies = iam.list_policies(Scope="Local")["Policies"]
    return [len(buckets), len(tables), len(policies), len(iam.list_roles()["Roles"])]


def test_a_bucket_with_something_in_it_is_not_removed(work: Onboarding) -> None:
    handle = finish(work, {})
    work.session.client("s3").put_object(Bucket=work.configuration.bucket, Key="state", Body=b"1")
    with pytest.raises(CloudError, match="BucketNotEmpty") as caught:
        finish(work, handle, wanted=False)
    assert caught.value.permanent


def test_a_bucket_of_another_account_is_not_touched(aws: Aws, work: Onboarding) -> None:
    """Names of buckets are the world's. Somebody who knew the name could wait there for our state."""
    squatter = aws.administrator("333333333333")
    squatter.client("s3").create_bucket(
        Bucket=work.configuration.bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    with pytest.raises(CloudError):
        finish(work, {})
    tags: Any = None
    with pytest.raises(AwsError):
        tags = squatter.client("s3").get_bucket_tagging(Bucket=work.configuration.bucket)
    assert tags is None


def test_keys_that_aws_does_not_know_are_told_apart(aws: Aws) -> None:
    aws.fail("GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    with pytest.raises(AwsError, match="CredentialsInvalid") as caught:
        onboarding.begin(Session(REGION, keys=Keys("a", "b"), endpoint=aws.address), ID, new_external_id(), PLATFORM)
    assert caught.value.permanent


def test_keys_that_may_too_little_name_what_is_missing(aws: Aws, work: Onboarding) -> None:
    who = f"User: arn:aws:iam::{CUSTOMER}:user/u is not authorized to perform: iam:CreateRole on resource: role x"
    aws.fail("CreateRole", "AccessDenied", who, 403)
    with pytest.raises(AwsError, match="PermissionDenied") as caught:
        finish(work, {})
    assert "iam:CreateRole" in caught.value.hint


def test_waits_until_iam_has_told_the_world(aws: Aws, work: Onboarding) -> None:
    aws.fail("AssumeRole", "AccessDenied", "not yet", 403, times=3)
    finish(work, {})
    assert aws.asked.count("AssumeRole") >= 4
    assert aws.asked.count("CreateRole") == 1


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("role_arn", "arn:aws:iam::123:role/x", "InvalidRoleArn"),
        ("role_arn", "arn:aws:iam::123456789012:user/x", "InvalidRoleArn"),
        ("bucket", "s3://bucket", "InvalidBucketName"),
        ("bucket", "Big", "InvalidBucketName"),
        ("bucket", "10.0.0.1", "InvalidBucketName"),
        ("bucket", "a..b", "InvalidBucketName"),
        ("table", "arn:aws:dynamodb:us-east-2:123456789012:table/t", "InvalidTableName"),
        ("region", "eu-north-1", "InvalidRegion"),
    ],
)
def test_what_is_misspelt_is_refused_before_aws_is_asked(field: str, value: str, code: str) -> None:
    right = {
        "role_arn": "arn:aws:iam::123456789012:role/path/BodoPlatformUser",
        "external_id": new_external_id(),
        "region": REGION,
        "bucket": "my.bucket-1",
        "table": "locks",
    }
    refuse_misspelt(Configuration(**right))
    with pytest.raises(CloudError, match=code) as caught:
        refuse_misspelt(Configuration(**{**right, field: value}))
    assert caught.value.hint


def test_external_ids_are_unguessable() -> None:
    made = {new_external_id() for _ in range(100)}
    assert len(made) == 100
    assert all(len(bytes.fromhex(each)) == 20 for each in made)
