"""A usage alarm from the configurations page to the mail that ends it."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant

pytestmark = pytest.mark.browser


def test_an_alarm_is_made_confirmed_changed_and_removed(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    watched.expected.append("status of 422")
    watched.expected.append("404")  # the alarm's page hears that it is gone, and leads on to the list
    address = f"oncall-{uuid.uuid4().hex[:8]}@example.org"
    page = watched.page(tenant.session)
    page.goto(f"{stage.address}/o/{tenant.organization}/configurations/")
    page.get_by_role("link", name="Usage alarms of This machine").click()
    expect(page.get_by_text("No alarm yet")).to_be_visible()
    expect(page.get_by_role("img", name="vCPUs in use in the last 1 week")).to_be_visible()

    page.get_by_role("link", name="Create alarm").click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_label("Alarm name")).to_have_value("vCPUs in use")
    expect(drawer.get_by_text("Suggested: ")).to_be_visible()
    drawer.get_by_label("Topic name").fill("my topic")
    drawer.get_by_label("E-mail endpoints").fill(address)
    drawer.get_by_role("button", name="Create alarm").click()
    expect(drawer.get_by_text("Use the letters a to z, digits, hyphens and underscores only.")).to_be_visible()
    expect(drawer.get_by_label("E-mail endpoints")).to_have_value(address)
    drawer.get_by_label("Topic name").fill("my-topic")
    drawer.get_by_role("button", name="Create alarm").click()

    expect(page.get_by_role("heading", name="vCPUs in use").first).to_be_visible()
    expect(page.get_by_text("Nobody is told")).to_be_visible()
    row = page.get_by_role("row", name=address)
    others = watched.page(tenant.session)
    others.goto(page.url.rpartition("/alarms/")[0] + "/alarms/")
    expect(others.get_by_role("row", name="vCPUs in use")).to_contain_text("0 of 1 confirmed")
    expect(row).to_contain_text("PENDING")
    expect(page.get_by_text("The alarm watches: more than")).to_be_visible()
    page.get_by_role("link", name="1 day").click()
    expect(page.get_by_role("img", name="vCPUs in use in the last 1 day")).to_be_visible()

    stranger = watched.page()
    stranger.goto(stage.link_in_mail_to(address))
    stranger.get_by_role("button", name="Confirm").click()
    expect(stranger.get_by_role("heading", name="You are told from now on")).to_be_visible()
    expect(row).to_contain_text("CONFIRMED")  # the page hears of it
    expect(page.get_by_text("Nobody is told")).to_have_count(0)
    expect(others.get_by_role("row", name="vCPUs in use")).to_contain_text("1 of 1 confirmed")

    page.get_by_role("link", name="Edit").click()
    drawer.get_by_label("Threshold (vCPUs)").fill("500")
    drawer.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Goes off when more than 500 vCPUs are in use for 5 minutes.")).to_be_visible()
    page.get_by_role("button", name=f"Remove {address}").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("Nobody is told. Add an endpoint below.")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete alarm").click()
    expect(page.get_by_text("No alarm yet")).to_be_visible()
