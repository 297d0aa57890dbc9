"""Single sign-on from the first click of an owner to a member at work, with a real OpenID provider."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press
from tests.browser.test_security import sign_out
from tests.sso.world import PASSWORD, Provider, running_provider

pytestmark = pytest.mark.browser
ADA = "ada@looms.example"


@pytest.fixture
def provider(watched: Watched) -> Iterator[Provider]:
    with running_provider() as provider:
        watched.expected.append(provider.address)
        yield provider


def set_up(page: Page, provider: Provider, tenant: Tenant) -> None:
    """As the owner: the provider, its check, and the domain."""
    page.goto(f"/o/{tenant.organization}/settings/")
    page.get_by_role("link", name="Single sign-on").click()
    client = provider.control("client", redirect_uri=page.get_by_label("Redirect URI").input_value())
    page.get_by_label("Issuer").fill(provider.issuer)
    page.get_by_label("Client ID").fill(client["client_id"])
    page.get_by_label("Client secret").fill("not the secret")
    press(page, "Save provider")
    press(page, "Test connection")
    expect(page.get_by_text("invalid_client")).to_be_visible()
    page.get_by_label("Client secret").fill(client["client_secret"])
    press(page, "Save provider")
    press(page, "Test connection")
    expect(page.get_by_text("invalid_client")).to_have_count(0)
    expect(page.locator(".check.failed")).to_have_text(re.compile("Approved domains"))
    page.get_by_role("textbox", name="Domain").fill("looms.example")
    press(page, "Ask for domain")
    expect(page.get_by_role("row", name="looms.example")).to_contain_text("waits for the operator")


def approve(desk: Page) -> None:
    """As the operator."""
    desk.goto("/admin/accounts/ssodomain/?q=looms.example")
    desk.get_by_role("link", name="looms.example").click()
    desk.get_by_role("link", name="Approve domain").click()
    desk.get_by_role("button", name="Approve domain").click()
    expect(desk.locator(".messagelist")).to_contain_text("looms.example")


def sign_in_there(page: Page, email: str) -> None:
    """From the portal's page of sign-in to the provider, and in at it."""
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Sign in at the provider")).to_be_visible()
    page.get_by_label("Username").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_from_the_settings_to_work_and_out_again(
    watched: Watched, page: Page, stage: Stage, tenant: Tenant, provider: Provider
) -> None:
    set_up(page, provider, tenant)
    approve(watched.page(stage.museum["root_session"]))
    press(page, "Test connection")
    expect(page.locator(".check.failed")).to_have_count(0)
    expect(page.get_by_role("row", name="looms.example")).to_contain_text("approved")
    page.get_by_label("People may sign in with single sign-on").check()
    page.get_by_label("Members of these domains").check()
    press(page, "Save")

    provider.person(ADA)
    theirs = watched.page()
    sign_in_there(theirs, ADA)
    expect(theirs.get_by_role("heading", name="Accept the terms to go on")).to_be_visible()
    theirs.get_by_label("I accept").check()
    press(theirs, "Accept and continue")
    theirs.wait_for_url(f"**/o/{tenant.organization}/workspaces/")
    page.goto(f"/o/{tenant.organization}/people/?q=lovelace")
    expect(page.get_by_role("row", name="Ada Lovelace")).to_contain_text("Member")
    sign_out(theirs)

    watched.expected.append("status of 403")
    provider.person("eve@looms.example")
    provider.lie(email="eve@elsewhere.example")
    wrong = watched.page()
    sign_in_there(wrong, "eve@looms.example")
    expect(wrong.get_by_role("heading", name="Single sign-on did not work")).to_be_visible()
    expect(wrong.get_by_role("alert")).to_contain_text("cannot speak for eve@elsewhere.example")
    expect(wrong).to_have_url(re.compile(f"^{stage.address}/sso/"))
    wrong.get_by_role("link", name="Sign in with a password").click()
    expect(wrong.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
