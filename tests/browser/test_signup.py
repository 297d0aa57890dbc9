"""The ways in, as a browser sees them: from AWS Marketplace's own site, by the sandbox, and past new terms."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press

pytestmark = pytest.mark.browser
PASSWORD = "a compiler for everybody"
AWS = "http://console.aws.example"


def fill_in(page: Page, organization: str, email: str) -> None:
    page.get_by_label("Organization name").fill(organization)
    page.get_by_label("First name").fill("Grace")
    page.get_by_label("Last name").fill("Hopper")
    page.get_by_label(re.compile("^E-?mail")).fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I accept").check()
    press(page, "Sign up")


def sign_in(page: Page, email: str) -> None:
    page.get_by_label(re.compile("^E-?mail")).fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")


def token_of_the_sandbox(page: Page) -> str:
    page.goto("/marketplace/sandbox/")
    return str(page.locator("input[name=x-amzn-marketplace-token]").first.get_attribute("value"))


def come_from_aws(watched: Watched, page: Page, stage: Stage, token: str) -> None:
    """AWS's page is on another site, whose posts carry none of our cookies; nothing leaves this machine."""
    watched.expected.append(AWS)
    body = (
        f'<form method="post" action="{stage.address}/marketplace/register/">'
        f'<input type="hidden" name="x-amzn-marketplace-token" value="{token}">'
        "<button>Set up your account</button></form>"
    )
    page.route(f"{AWS}/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{AWS}/subscriptions")
    press(page, "Set up your account")


def test_the_sandbox_cancels_a_subscription_and_brings_it_back(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    """By the buttons of its page, as whoever pays sees it."""
    page = watched.page(tenant.session)
    come = token_of_the_sandbox(page)
    page.locator(f"input[value='{come}']").locator("xpath=..").get_by_role("button").click()
    page.get_by_label("Use the subscription for").select_option(tenant.organization)
    press(page, "Link the subscription")
    page.goto("/marketplace/sandbox/")
    page.get_by_role("button", name="Send unsubscribe-pending").click()
    expect(page.get_by_text("Sent unsubscribe-pending")).to_be_visible()
    page.goto(f"/o/{tenant.organization}/workspaces/")
    expect(page.get_by_text("can start no cluster now")).to_be_visible()
    page.get_by_role("link", name="What AWS says, and what to do").click()
    expect(page.get_by_role("heading", name="AWS Marketplace")).to_be_visible()
    expect(page.get_by_text("CANCELLING")).to_be_visible()
    page.goto("/marketplace/sandbox/")
    page.get_by_role("button", name="Send subscribe-success").click()
    expect(page.get_by_text("Sent subscribe-success")).to_be_visible()
    page.goto(f"/o/{tenant.organization}/workspaces/")
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()
    expect(page.get_by_text("can start no cluster now")).to_have_count(0)


def test_a_buyer_comes_from_aws_and_ends_in_the_subscribed_organization(watched: Watched, stage: Stage) -> None:
    page, email = watched.page(), "grace.buyer@example.org"
    page.goto("/")
    page.get_by_role("link", name="sandbox").click()
    expect(page.get_by_text("This is not AWS.")).to_be_visible()
    come_from_aws(watched, page, stage, token_of_the_sandbox(page))
    expect(page.get_by_role("heading", name="Create your organization")).to_be_visible()
    fill_in(page, "Bought & Paid", email)
    expect(page.get_by_text(email)).to_be_visible()
    page.goto(stage.link_in_mail_to(email))
    press(page, "Activate")
    sign_in(page, email)
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()
    page.get_by_role("link", name="Billing").click()
    expect(page.get_by_text("Subscribed through AWS Marketplace (sandbox)")).to_be_visible()


def test_somebody_signed_in_is_still_signed_in_after_aws(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    page = watched.page(tenant.session)
    token = token_of_the_sandbox(page)
    come_from_aws(watched, page, stage, token)
    expect(page.get_by_text(f"You are signed in as {tenant.email}")).to_be_visible()
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(stage.address)}
    assert cookies["sessionid"] == tenant.session
    page.get_by_label("Use the subscription for").select_option(index=1)
    press(page, "Link the subscription")
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()

    page.go_back()
    expect(page.get_by_text("SubscriptionLinked")).to_be_visible()
    come_from_aws(watched, page, stage, token)
    expect(page.get_by_text("MarketplaceTokenUsed")).to_be_visible()
    watched.expected += ["status of 409"]


@pytest.mark.parametrize("trial", ["Expired token", "Unknown product", "Forged token"])
def test_the_sandbox_s_bad_tokens_are_explained(watched: Watched, trial: str) -> None:
    watched.expected += ["status of 410", "status of 409", "status of 400"]
    page = watched.page()
    page.goto("/marketplace/sandbox/")
    press(page, f"Send: {trial}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("link", name="Go to the sandbox").click()
    expect(page.get_by_role("heading", name="Sandbox marketplace")).to_be_visible()


def test_the_link_comes_again_and_works_without_scripts(watched: Watched, stage: Stage) -> None:
    page, email = watched.page(java_script_enabled=False), "grace.again@example.org"
    page.goto("/accounts/signup/")
    fill_in(page, "Patience", email)
    press(page, "Send it again")
    expect(page.get_by_text(f"We sent an e-mail to {email}")).to_be_visible()
    page.goto(stage.link_in_mail_to(email))
    press(page, "Activate")
    sign_in(page, email)
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()


def test_terms_stand_before_the_rest_of_the_sign_in(watched: Watched, stage: Stage) -> None:
    from tests.factories import PASSWORD as THEIRS

    page = watched.page()
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(stage.museum["before_terms_email"])
    page.get_by_label("Password").fill(THEIRS)
    press(page, "Sign in")
    expect(page.get_by_role("heading", name="Accept the terms to go on")).to_be_visible()
    press(page, "Cancel")
    page.goto("/")
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(stage.museum["before_terms_email"])
    page.get_by_label("Password").fill(THEIRS)
    press(page, "Sign in")
    page.get_by_label("I accept").check()
    press(page, "Accept and continue")
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()
