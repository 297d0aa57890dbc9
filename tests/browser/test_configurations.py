"""AWS accounts are connected in the browser: by hand, with all that is copied and filled in, and with access keys."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from portal.clouds.aws import onboarding
from portal.clouds.base import Handle, Settled
from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.stage import stage as running
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, Aws
from tests.clouds.aws.conftest import aws, moto

__all__ = ["aws", "moto"]
pytestmark = pytest.mark.browser


@pytest.fixture
def stage(aws: Aws) -> Iterator[Stage]:
    """A portal of its own, which reaches AWS."""
    with running(1, museum=False, more={"PORTAL_AWS_ENDPOINT": aws.address}) as portal:
        yield portal


def test_by_hand_and_with_access_keys(watched: Watched, stage: Stage, tenant: Tenant, aws: Aws) -> None:
    page = watched.page(tenant.session)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{stage.address}/o/{tenant.organization}/configurations/")
    page.get_by_role("link", name="Create configuration").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_role("link", name="AWS").click()
    drawer.get_by_label("Name").fill("Production")
    drawer.get_by_label("Region").select_option("us-east-2")
    drawer.get_by_label("By hand").check()
    drawer.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Production")).to_be_visible()

    def copied(label: str) -> str:
        """By the keyboard."""
        button = page.get_by_role("button", name=label, exact=True)
        button.focus()
        page.keyboard.press("Enter")
        expect(button).to_have_text("Copied")
        expect(button).to_have_text("Copy")
        return str(page.evaluate("navigator.clipboard.readText()"))

    assert copied("Copy the account ID") == PLATFORM
    external_id = copied("Copy the External ID")
    work = onboarding.begin(aws.administrator(), str(uuid.uuid4()), external_id, PLATFORM)
    handle: Handle = {}
    while not isinstance((step := work.advance(handle)).outcome, Settled):
        handle = step.handle
    made = work.configuration
    assert copied("Copy the policy name") == made.node_policy_name
    expect(page.locator("#policy-role")).to_contain_text("$$BUCKET_NAME$$")
    page.get_by_label("S3 bucket").fill(made.bucket)
    expect(page.locator("#policy-role")).not_to_contain_text("$$BUCKET_NAME$$")
    expect(page.locator("#policy-role")).to_contain_text("$$DYNAMO_ARN$$")
    page.get_by_label("DynamoDB table").fill(made.table)
    page.get_by_label("Role ARN").fill(made.role_arn)
    expect(page.locator("#policy-role")).to_contain_text(made.table_arn)
    assert "$$" not in copied("Copy the policy of the role")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the policy of the role").click()
    document = json.loads(download.value.path().read_text())
    assert made.table_arn in json.dumps(document)

    aws.administrator().client("s3").put_bucket_versioning(
        Bucket=made.bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text("1 of", exact=False).first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("enable Bucket Versioning").last).to_be_visible()
    expect(page.get_by_label("Role ARN")).to_have_value(made.role_arn)
    aws.administrator().client("s3").put_bucket_versioning(
        Bucket=made.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    page.get_by_role("button", name="Validate").click()
    expect(page.get_by_role("heading", name="Checks")).to_be_visible(timeout=60_000)
    expect(page.locator(".check.failed")).to_have_count(0, timeout=60_000)
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("[data-status=READY]").first).to_be_visible(timeout=60_000)
    expect(page.get_by_text(CUSTOMER, exact=True)).to_be_visible()

    keys = aws.keys()
    page.goto(f"{stage.address}/o/{tenant.organization}/configurations/new/aws/")
    page.get_by_label("Name").fill("Playground")
    page.get_by_label("Access keys").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Access key ID").fill(keys.access_key_id)
    page.get_by_label("Secret access key").fill(keys.secret_access_key)
    page.get_by_label("Session token").fill(keys.session_token or "")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("ol").get_by_text("S3 bucket ready")).to_be_visible(timeout=60_000)  # live, while it goes on
    expect(page.locator("[data-status=READY]").first).to_be_visible(timeout=90_000)
    assert keys.secret_access_key not in page.content()
    expect(page.get_by_role("button", name="Validate")).to_be_visible()
