"""A cloud configuration on AWS that somebody sets up by hand, over HTTP against moto."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import AuditEvent
from portal.clouds.aws import onboarding
from portal.clouds.base import Settled
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, Aws
from tests.factories import make_aws_configuration
from tests.pages.world import Tenants
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(tenants: Tenants) -> Client:
    return tenants.client("owner")


def page_of(row: CloudConfiguration, name: str = "configuration") -> str:
    return reverse(f"workspaces:{name}", args=[row.organization_id, row.pk])


def begun(tenants: Tenants, owner: Client, **fields: str) -> CloudConfiguration:
    """By the form, as somebody begins."""
    form = {"name": "Production", "region": "us-east-2", "way": "MANUAL", **fields}
    response = owner.post(reverse("workspaces:configuration_new_aws", args=[tenants.acme.pk]), form)
    assert response.status_code == 302, response.content
    return CloudConfiguration.objects.get(pk=response["Location"].split("/")[-2])


def made_by_hand(aws: Aws, external_id: str, region: str = "us-east-2") -> dict[str, str]:
    """What the guide says, made in the customer's account with this External ID."""
    work = onboarding.begin(aws.administrator(region=region), str(uuid.uuid4()), external_id, PLATFORM)
    handle: dict[str, Any] = {}
    for _ in range(50):
        step = work.advance(handle)
        handle = step.handle
        if isinstance(step.outcome, Settled):
            break
    made = work.configuration
    return {"region": region, "bucket": made.bucket, "table": made.table, "role_arn": made.role_arn}


def test_the_whole_way(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    assert (row.status, row.way, row.settings) == ("SETUP", "MANUAL", {"region": "us-east-2"})
    page = owner.get(page_of(row)).content.decode()
    assert PLATFORM in page
    assert row.external_id
    assert row.external_id in page
    assert "$$BUCKET_NAME$$" in page
    values = made_by_hand(offered, row.external_id)

    assert owner.post(page_of(row), {**values, "action": "validate"}).status_code == 302
    row.refresh_from_db()
    assert row.status == "SETUP", "validating does not create"
    assert row.settings == values
    assert len(row.checks) > 10
    assert all(check["passed"] for check in row.checks)
    page = owner.get(page_of(row)).content.decode()
    assert f"All {len(row.checks)} passed" in page
    assert "$$" not in page, "the policy is filled in"

    owner.post(page_of(row), {**values, "action": "create"})
    row.refresh_from_db()
    assert row.status == "READY"
    page = owner.get(page_of(row)).content.decode()
    for shown in (CUSTOMER, values["bucket"], values["table"], values["role_arn"], row.external_id):
        assert shown in page
    assert list(cloud_of(row).zones("us-east-2"))
    assert cloud_of(row) is cloud_of(CloudConfiguration.objects.get(pk=row.pk)), "its sessions are kept"


def test_what_fails_says_what_to_do_and_creates_nothing(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    values = made_by_hand(offered, "f" * 40)  # an External ID of somebody's own
    response = owner.post(page_of(row), {**values, "action": "create"}, follow=True)
    row.refresh_from_db()
    assert row.status == "SETUP"
    assert row.settings == values, "what was typed is kept"
    page = response.content.decode()
    assert "checks failed" in page
    assert "Check the role&#x27;s trust policy" in page
    assert values["role_arn"] in page
    event = AuditEvent.objects.filter(object_id=str(row.pk)).latest("pk")
    assert (event.verb, event.detail["failed_checks"]) == ("cloud_configuration.validate", ["Role"])


def test_what_cannot_be_right_is_said_beside_its_field(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    good = {"region": "us-east-2", "bucket": "metadata", "table": "locks", "role_arn": "arn:aws:iam::1:role/R"}
    for field, value in {"bucket": "s3://metadata", "table": "arn:aws:dynamodb", "role_arn": "R"}.items():
        role = {"role_arn": "arn:aws:iam::222222222222:role/R"}
        response = owner.post(page_of(row), {**good, **role, field: value, "action": "create"})
        assert response.status_code == 422
        assert response.context["form"].errors[field]
        assert value in response.content.decode()
    assert "AssumeRole" not in offered.asked


def test_the_external_id_is_ours(offered: Aws, tenants: Tenants, owner: Client) -> None:
    """Whoever could choose it could name another tenant's, and make the portal work in another's account."""
    victim = make_aws_configuration(tenants.globex)
    assert victim.external_id
    row = begun(tenants, owner, external_id=victim.external_id)
    assert row.external_id != victim.external_id
    assert row.external_id
    assert re.fullmatch("[0-9a-f]{40}", row.external_id)
    mine = row.external_id
    values = made_by_hand(offered, victim.external_id)
    owner.post(page_of(row), {**values, "external_id": victim.external_id, "action": "create"})
    row.refresh_from_db()
    assert (row.external_id, row.status) == (mine, "SETUP")
    with pytest.raises(IntegrityError), transaction.atomic():
        CloudConfiguration.objects.filter(pk=row.pk).update(external_id=victim.external_id)
    with pytest.raises(IntegrityError), transaction.atomic():
        CloudConfiguration.objects.filter(pk=row.pk).update(external_id=None)


def test_the_policy_is_filled_as_the_fields_are(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    role = "arn:aws:iam::222222222222:role/R"
    typed = {"region": "us-west-2", "bucket": "metadata", "table": "locks", "role_arn": role}
    response = owner.get(page_of(row, "configuration_policy"), typed)
    assert response["Content-Disposition"] == 'attachment; filename="bodo-platform-role.json"'
    text = response.content.decode()
    assert "arn:aws:dynamodb:us-west-2:222222222222:table/locks" in text
    assert "arn:aws:s3:::metadata/*" in text
    assert "$$" not in text
    assert json.loads(text)["Statement"]
    partly = owner.get(page_of(row, "configuration_policy"), {"bucket": "metadata"}).content.decode()
    assert "$$DYNAMO_ARN$$" in partly
    assert "$$BUCKET_NAME$$" not in partly
    hostile = owner.get(page_of(row, "configuration_policy"), {**typed, "bucket": '"}]', "table": '"', "region": "*"})
    assert "$$BUCKET_NAME$$" in hostile.content.decode()
    assert json.loads(hostile.content)["Statement"]
    shown = owner.get(page_of(row, "configuration_policy"), typed, headers={"HX-Request": "true"}).content.decode()
    assert shown.lstrip().startswith("<div")
    assert "metadata" in shown
    machines = owner.get(page_of(row, "configuration_policy"), {"kind": "machines", "bucket": "metadata"})
    assert "arn:aws:s3:::metadata/workspaces/${aws:PrincipalTag/portal:workspace}" in machines.content.decode()
    assert owner.get(page_of(row, "configuration_policy"), {"kind": "other"}).status_code == 404


def test_only_a_ready_one_carries_workspaces(
    offered: Aws, tenants: Tenants, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.clouds.aws.provider.AwsCloud.check_workspace", lambda self, spec: [])
    row = begun(tenants, owner)
    form = {"name": "Attic", "cloud_configuration": str(row.pk), "region": "us-east-2"}
    response = owner.post(reverse("workspaces:new", args=[tenants.acme.pk]), form)
    assert response.status_code == 422
    assert response.context["form"].errors["cloud_configuration"]
    CloudConfiguration.objects.filter(pk=row.pk).update(
        status="READY", settings=make_aws_configuration(tenants.acme).settings
    )
    assert owner.post(reverse("workspaces:new", args=[tenants.acme.pk]), form).status_code == 302


def test_validating_again_keeps_what_was_found(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    assert row.external_id
    values = made_by_hand(offered, row.external_id)
    owner.post(page_of(row), {**values, "action": "create"})
    offered.administrator().client("dynamodb").delete_table(TableName=values["table"])
    response = owner.post(page_of(row, "configuration_check"), follow=True)
    row.refresh_from_db()
    assert [check["name"] for check in row.checks if not check["passed"]] == ["Table"]
    assert row.status == "READY", "workspaces stand on it; they go on as far as they can"
    assert f"1 of {len(row.checks)} failed" in response.content.decode()


def test_it_is_offered_only_where_the_operator_says_so(tenants: Tenants, owner: Client, settings: Settings) -> None:
    new = reverse("workspaces:configuration_new", args=[tenants.acme.pk])
    assert "AWS" not in owner.get(new).content.decode().split("<main")[1]
    form = {"name": "Production", "region": "us-east-2", "way": "MANUAL"}
    response = owner.post(reverse("workspaces:configuration_new_aws", args=[tenants.acme.pk]), form)
    assert response.status_code == 422
    assert b"does not offer AWS" in response.content
    settings.PORTAL_AWS = True
    assert "AWS" in owner.get(new).content.decode().split("<main")[1]
    settings.PORTAL_LOCAL_CLOUD = False
    assert owner.get(new)["Location"].endswith("/new/aws/")


def test_a_way_that_is_not_offered_is_not_taken(offered: Aws, tenants: Tenants, owner: Client) -> None:
    form = {"name": "Production", "region": "us-east-2", "way": "STACK"}
    response = owner.post(reverse("workspaces:configuration_new_aws", args=[tenants.acme.pk]), form)
    assert response.context["form"].errors["way"]
    for wrong in ({"region": "eu-central-1"}, {"way": ""}, {"name": ""}):
        response = owner.post(
            reverse("workspaces:configuration_new_aws", args=[tenants.acme.pk]), {**form, "way": "KEYS", **wrong}
        )
        assert response.status_code == 422


def test_a_portal_without_an_identity_says_so(
    offered: Aws, tenants: Tenants, owner: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = begun(tenants, owner)
    settings.PORTAL_AWS_ACCOUNT = ""
    assert PLATFORM in owner.get(page_of(row)).content.decode(), "asked of AWS"
    settings.PORTAL_AWS_ENDPOINT = "http://127.0.0.1:9"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    page = owner.get(page_of(row)).content.decode()
    assert "nothing can be set up" in page
    assert "The operator of this portal has to give it an AWS identity" in page


def test_deleting_says_what_stays(offered: Aws, tenants: Tenants, owner: Client) -> None:
    row = begun(tenants, owner)
    assert "It has made nothing in the cloud" in owner.get(page_of(row)).content.decode()
    done = make_aws_configuration(tenants.acme)
    page = owner.get(page_of(done)).content.decode()
    for kept in ("The S3 bucket metadata", "The DynamoDB table locks", "The IAM role BodoPlatformUser"):
        assert kept in page
    assert owner.post(page_of(done, "configuration_delete")).status_code == 302
    assert owner.get(page_of(done)).status_code == 404
