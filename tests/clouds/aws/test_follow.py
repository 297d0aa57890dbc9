"""Following a customer's stack to its end, by nothing but what it leaves."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.clouds.aws.configuration import Configuration, configuration_of, new_external_id
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.follow import Followed, Stage, follow
from portal.clouds.aws.template import publish, quick_create_link, template
from portal.clouds.base import CloudError
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, REGION, Aws

ID = "0b3f8c5e-1111-4222-8333-444455556666"
EXTERNAL_ID = new_external_id()


@pytest.fixture
def made(aws: Aws) -> Configuration:
    """The account once the customer clicked: the stack gets what the link has filled in."""
    aws.quotas = {"L-F678F1CE": 5, "L-0263D0A3": 5, "L-1216C47A": 32}
    configuration = configuration_of(ID, CUSTOMER, REGION, EXTERNAL_ID)
    link = quick_create_link(
        "https://operator.s3.amazonaws.com/t.json",
        region=REGION,
        name=configuration.bucket,
        platform_account=PLATFORM,
        external_id=EXTERNAL_ID,
    )
    filled = parse_qs(urlsplit(link).fragment.partition("?")[2])
    aws.administrator().client("cloudformation").create_stack(
        StackName=filled["stackName"][0],
        TemplateBody=template(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[
            {"ParameterKey": key.removeprefix("param_"), "ParameterValue": values[0]}
            for key, values in filled.items()
            if key.startswith("param_")
        ],
    )
    # What moto leaves out.
    s3 = aws.administrator().client("s3")
    s3.put_bucket_versioning(Bucket=configuration.bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_public_access_block(
        Bucket=configuration.bucket,
        PublicAccessBlockConfiguration=dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        ),
    )
    return configuration


def look(aws: Aws, account: str = CUSTOMER) -> Followed:
    return follow(ID, account, REGION, EXTERNAL_ID, aws.address)


def test_before_the_stack_there_is_nothing_to_see_and_one_call_to_make(aws: Aws) -> None:
    aws.asked.clear()
    seen = look(aws)
    assert seen.stage is Stage.WAITING
    assert CUSTOMER in seen.detail
    assert aws.asked == ["AssumeRole"]


def test_a_stack_that_made_everything(aws: Aws, made: Configuration) -> None:
    seen = look(aws)
    assert seen.stage is Stage.COMPLETE, seen
    assert seen.configuration == made
    assert all(check.passed for check in seen.checks)


def iam(aws: Aws) -> Any:
    return aws.administrator().client("iam")


def test_what_is_missing_is_named(aws: Aws, made: Configuration) -> None:
    aws.administrator().client("s3").delete_bucket(Bucket=made.bucket)
    iam(aws).delete_policy(PolicyArn=made.node_policy_arn)
    seen = look(aws)
    assert seen.stage is Stage.MAKING
    assert seen.detail == "The role is there. Still missing: bucket, policy of the machines."


def test_a_role_without_its_policy_is_not_there_yet(aws: Aws, made: Configuration) -> None:
    name = made.role_arn.rpartition("/")[2]
    for policy in iam(aws).list_role_policies(RoleName=name)["PolicyNames"]:
        iam(aws).delete_role_policy(RoleName=name, PolicyName=policy)
    assert look(aws).stage is Stage.MAKING


def test_what_is_there_and_wrong_is_named(aws: Aws, made: Configuration) -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam(aws).create_policy_version(
        PolicyArn=made.node_policy_arn, PolicyDocument=json.dumps(document), SetAsDefault=True
    )
    seen = look(aws)
    assert seen.stage is Stage.WRONG
    assert seen.detail == "All is there, but not as it should be: Node policy."
    assert not next(check for check in seen.checks if check.name == "Node policy").passed


def test_a_stack_with_another_external_id_is_waited_for(aws: Aws, made: Configuration) -> None:
    """Whoever knows the names of somebody else's stack sees nothing of it."""
    assert follow(ID, CUSTOMER, REGION, new_external_id(), aws.address).stage is Stage.WAITING
    assert look(aws, "333333333333").stage is Stage.WAITING


@pytest.mark.parametrize("account", ["", "22222222222", "2222-2222-2222", "²²²²²²²²²²²²", "222222222222\n", "*" * 12])
def test_what_is_no_account_is_refused_before_aws_is_asked(aws: Aws, account: str) -> None:
    aws.asked.clear()
    with pytest.raises(CloudError, match="InvalidAccount"):
        look(aws, account)
    assert aws.asked == []


def test_aws_that_does_not_answer_is_no_stack_that_is_not_there(aws: Aws, made: Configuration) -> None:
    for operation, code in (("AssumeRole", "Throttling"), ("DescribeTable", "InternalServerError")):
        aws.fail(operation, code, status=500)
        with pytest.raises(AwsError):
            look(aws)
    assert look(aws).stage is Stage.COMPLETE


def test_the_template_is_published_where_the_link_leads(aws: Aws) -> None:
    session = aws.administrator(PLATFORM)
    session.client("s3").create_bucket(Bucket="operator", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert publish(session, "operator") == f"https://operator.s3.{REGION}.amazonaws.com/bodo-platform.json"
    found = session.client("s3").get_object(Bucket="operator", Key="bodo-platform.json")
    assert found["Body"].read().decode() == template()
    assert found["ContentType"] == "application/json"
