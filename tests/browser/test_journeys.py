"""How people come to an organization and how they leave it, as they see it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant

pytestmark = pytest.mark.browser

PASSWORD = "a compiler for everybody"
EMAIL_FIELD = re.compile("^E-?mail")


def sign_in(page: Page, email: str) -> None:
    page.get_by_label(EMAIL_FIELD).fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_buyer_from_the_marketplace_lands_in_their_organization(watched: Watched, stage: Stage) -> None:
    email = "buyer@example.org"
    page = watched.page()
    page.goto("/marketplace/sandbox/")
    expect(page.get_by_text("This is not AWS.")).to_be_visible()
    page.get_by_role("button", name="Set up your account").click()
    expect(page.get_by_role("heading", name="Create your organization")).to_be_visible()
    address = page.url
    page.get_by_label("Organization name").fill("Buyers & Sons")
    page.get_by_label("First name").fill("Bea")
    page.get_by_label("Last name").fill("Buyer")
    page.get_by_label(EMAIL_FIELD).fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("I accept").check()
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()

    watched.expected += ["status of 409", "status of 403", "status of 404", "status of 410"]
    stranger = watched.page()  # whoever gets hold of the address
    stranger.goto(address)
    expect(stranger.get_by_role("heading", name="Create your organization")).to_have_count(0)

    page.goto(stage.link_in_mail_to(email))
    page.get_by_role("button", name="Activate").click()
    sign_in(page, email)
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()
    expect(page.locator(".sidebar").get_by_text("Buyers & Sons").first).to_be_visible()
    page.get_by_role("link", name="Billing").click()
    expect(page.get_by_text("AWS Marketplace").first).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_text("Bea Buyer").first).to_be_visible()


def test_an_invited_stranger_joins_is_given_more_and_is_removed(
    watched: Watched, stage: Stage, tenant: Tenant, page: Page
) -> None:
    email = "invited@example.org"
    page.goto(f"/o/{tenant.organization}/people/")
    page.get_by_role("link", name="Invite people").first.click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("E-mail addresses").fill(email)
    drawer.get_by_role("button", name="Send invitations").click()
    expect(page.get_by_text(email).first).to_be_visible()

    guest = watched.page()
    link = stage.link_in_mail_to(email)
    guest.goto(link)
    guest.get_by_label("First name").fill("Ida")
    guest.get_by_label("Last name").fill("Invited")
    guest.get_by_label("Password", exact=True).fill(PASSWORD)
    guest.get_by_label("I accept").check()
    guest.get_by_role("button", name="Create account and join").click()
    expect(guest.get_by_role("heading", name="Workspaces")).to_be_visible()
    expect(guest.get_by_role("link", name="Create workspace")).to_have_count(0)  # a MEMBER makes none

    watched.expected += ["status of 403", "status of 404", "status of 409", "status of 410"]
    again = watched.page()
    again.goto(link)
    expect(again.get_by_role("button", name="Create account and join")).to_have_count(0)

    page.goto(f"/o/{tenant.organization}/people/")
    page.get_by_role("link", name="Manage Ida Invited").click()
    drawer.get_by_label("Role").select_option("ADMIN")
    drawer.get_by_role("button", name="Save role").click()
    expect(page.get_by_role("row", name=re.compile("Ida Invited")).get_by_text("Admin")).to_be_visible()
    guest.reload()
    expect(guest.get_by_role("link", name="Audit")).to_be_visible()

    page.get_by_role("link", name="Manage Ida Invited").click()
    drawer.get_by_role("button", name="Remove from organization").click()
    page.get_by_role("dialog", name=re.compile("Remove Ida")).get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("Ida Invited"))).to_have_count(0)
    guest.goto(f"/o/{tenant.organization}/workspaces/")
    expect(guest.get_by_text("404")).to_be_visible()


def test_an_administrator_finds_who_did_what(page: Page, tenant: Tenant) -> None:
    page.goto(f"/o/{tenant.organization}/settings/")
    page.get_by_label("Organization name").fill(f"Renamed {tenant.organization}")
    page.get_by_role("button", name="Save", exact=True).first.click()
    page.get_by_role("link", name="Audit").click()
    event = page.get_by_role("row").filter(has_text=f"Renamed {tenant.organization}").first
    expect(event).to_be_visible()
    page.get_by_role("searchbox").first.fill("nothing like it")
    expect(event).to_have_count(0)
    page.get_by_role("searchbox").first.fill("Renamed")
    expect(event).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("CSV")).or_(
            page.get_by_role("button", name=re.compile("CSV"))
        ).first.click()
    assert "Renamed" in download.value.path().read_text()
