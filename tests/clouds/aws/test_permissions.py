"""The policy and the template: both from one table."""

from __future__ import annotations

import ast
import json
from urllib.parse import parse_qs, urlsplit

from portal.clouds.aws import permissions
from portal.clouds.aws.configuration import Configuration, new_external_id, node_policy_name
from portal.clouds.aws.node_policy import filled_node_policy
from portal.clouds.aws.permissions import GRANTS, POLICY_LIMIT
from portal.clouds.aws.session import assume
from portal.clouds.aws.template import quick_create_link, template
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, REGION, Aws

ARN = "arn:aws:dynamodb:us-east-2:222222222222:table/locks"
NODES = node_policy_name("ab" * 20)


def test_the_policy_is_ready_to_paste() -> None:
    text = permissions.filled_policy("my-bucket", ARN, NODES)
    document = json.loads(text)
    assert "$$" not in text
    by_name = {statement["Sid"]: statement for statement in document["Statement"]}
    assert by_name["StateObjects"]["Resource"] == ["arn:aws:s3:::my-bucket/*"]
    assert by_name["StateLock"]["Resource"] == [ARN]


def test_the_policy_has_the_placeholders_of_the_guide() -> None:
    text = json.dumps(permissions.policy())
    assert "arn:aws:s3:::$$BUCKET_NAME$$/*" in text
    assert '"$$DYNAMO_ARN$$"' in text


def test_the_policy_fits_into_a_role() -> None:
    text = json.dumps(json.loads(permissions.filled_policy("b" * 63, ARN + "t" * 250, NODES)), separators=(",", ":"))
    assert len(text) < POLICY_LIMIT


def test_nothing_is_allowed_by_a_pattern_of_actions() -> None:
    actions = [action for grant in GRANTS for action in grant.actions]
    assert not [action for action in actions if "*" in action]
    where = [(action, resource) for grant in GRANTS for action in grant.actions for resource in grant.resources]
    assert len(where) == len(set(where))


def test_what_is_not_ours_cannot_be_changed_or_removed() -> None:
    """Whatever changes or removes needs our tag on the thing, or one of our names, or is one of the three."""
    harmless = ("Describe", "Get", "List", "Create", "Allocate", "Simulate", "Tag", "AddTags")
    for grant in GRANTS:
        if all(action.partition(":")[2].startswith(harmless) for action in grant.actions):
            continue
        ours = grant.resources != ("*",) or "aws:ResourceTag/portal:workspace" in grant.conditions.get("Null", {})
        # Whom a topic tells is removed by the ARN of the subscription, for which IAM knows no resource.
        # Machines are tagged by their launch template, and launched by nothing else.
        known = {"KeyCreate", "MountTargetInterfaces", "AlarmEndpoints", "ClusterLaunch"}
        assert ours or grant.name in known, grant.name


def test_tags_are_put_only_on_what_is_being_made_or_has_a_name_of_ours() -> None:
    """Whoever could tag anything could make anything ours. Of keys AWS cannot tell (decision 0013)."""
    tagging = ("Tag", "AddTags", "CreateTags", "CreateOrUpdateTags")
    for grant in GRANTS:
        if not any(action.partition(":")[2].startswith(tagging) for action in grant.actions):
            continue
        being_made = any(key.endswith(":CreateAction") for key in grant.conditions.get("StringEquals", {}))
        named = all("portal" in resource or "bodo-machine-" in resource for resource in grant.resources)
        assert being_made or named or grant.name == "KeyCreate", grant.name


def test_samples_are_resources_as_there_could_be() -> None:
    configuration = Configuration(f"arn:aws:iam::{CUSTOMER}:role/r", "ab" * 20, REGION, "b", "locks")
    by_name = {grant.name: permissions.samples(grant, configuration) for grant in GRANTS}
    assert by_name["StateBucket"] == ["arn:aws:s3:::b"]
    assert by_name["StateLock"] == [ARN]
    assert by_name["NetworkTag"] == [f"arn:aws:ec2:{REGION}:{CUSTOMER}:vpc/validation"]
    assert by_name["RoleCreate"] == [f"arn:aws:iam::{CUSTOMER}:role/portal/validation"]
    assert by_name["Parameters"] == [f"arn:aws:ssm:{REGION}:{CUSTOMER}:parameter/portal/validation"]
    assert by_name["Look"] == ["*"]


def faults(text: str) -> list[str]:
    """Errors and warnings; what cfn-lint merely recommends is a matter of taste."""
    import cfnlint.api

    return [str(match) for match in cfnlint.api.lint_all(text) if match.rule.id[0] in "EW"]


def test_the_template_has_no_faults_that_cfn_lint_knows() -> None:
    assert faults(template()) == []
    assert faults(template().replace('"KeySchema"', '"KeyScheme"')) != [], "it would find one"


def test_the_stack_makes_what_the_portal_needs(aws: Aws) -> None:
    """What moto makes of it; that it is right for AWS itself is cfn-lint's word."""
    external_id = new_external_id()
    session = aws.administrator()
    values = {
        "ResourceName": "bodo-platform-1",
        "PlatformAccount": PLATFORM,
        "ExternalId": external_id,
        "NodePolicyName": node_policy_name(external_id),
    }
    session.client("cloudformation").create_stack(
        StackName="bodo-platform-1",
        TemplateBody=template(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
    )
    stack = session.client("cloudformation").describe_stacks(StackName="bodo-platform-1")["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    made = Configuration(outputs["RoleArn"], external_id, REGION, outputs["BucketName"], outputs["TableName"])
    assert made.account == CUSTOMER
    assert assume(made.role, REGION, aws.address)
    iam = session.client("iam")
    document = iam.get_role_policy(RoleName="bodo-platform-1", PolicyName="Bodo-Platform-User-Policy")["PolicyDocument"]
    if isinstance(document, str):  # moto gives it back as Python writes it
        document = ast.literal_eval(document)
    machines = iam.get_policy_version(PolicyArn=made.node_policy_arn, VersionId="v1")["PolicyVersion"]["Document"]
    assert machines == json.loads(filled_node_policy(made.bucket))
    assert document == json.loads(permissions.filled_policy(made.bucket, made.table_arn, made.node_policy_name))


def test_the_link_opens_the_stack_filled_in() -> None:
    link = quick_create_link(
        "https://bucket.s3.amazonaws.com/template.json",
        region="us-west-2",
        name="bodo-platform-1",
        platform_account=PLATFORM,
        external_id="ab" * 20,
    )
    address = urlsplit(link)
    assert address.hostname == "us-west-2.console.aws.amazon.com"
    assert address.query == "region=us-west-2"
    path, _, query = address.fragment.partition("?")
    assert path == "/stacks/quickcreate"
    assert parse_qs(query) == {
        "templateURL": ["https://bucket.s3.amazonaws.com/template.json"],
        "stackName": ["bodo-platform-1"],
        "param_ResourceName": ["bodo-platform-1"],
        "param_PlatformAccount": [PLATFORM],
        "param_ExternalId": ["ab" * 20],
        "param_NodePolicyName": [NODES],
    }
    assert len(link) < 2000
