"""The operator finds somebody, helps, looks through their eyes, and comes back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage

pytestmark = pytest.mark.browser
DESK = {"width": 1440, "height": 900}


@pytest.fixture
def desk(watched: Watched, stage: Stage) -> Page:
    """The operator's. Any complaint about the content security policy fails the test."""
    return watched.page(stage.museum["root_session"], viewport=DESK)


def test_find_unlock_act_as_and_stop(watched: Watched, desk: Page, stage: Stage) -> None:
    desk.goto("/admin/")
    desk.get_by_role("link", name="Users", exact=True).first.click()
    desk.locator("#searchbar").fill(stage.museum["sleeper"])
    desk.get_by_role("button", name="Search").click()
    desk.get_by_role("link", name=stage.museum["sleeper"]).click()
    expect(desk.get_by_text("Locked since")).to_be_visible()
    expect(desk.get_by_role("link", name="Act as this person")).to_have_count(0)

    desk.get_by_role("link", name="Unlock").click()
    expect(desk.get_by_text("They can sign in again, and are told so by mail.")).to_be_visible()
    desk.get_by_role("button", name="Unlock").click()
    expect(desk.locator(".messagelist")).to_contain_text("can sign in again")
    expect(desk.get_by_text("Not locked; will be")).to_be_visible()

    desk.get_by_role("link", name="Act as this person").click()
    desk.get_by_label("Reason:").fill("Ticket 4711: the list of clusters")
    desk.get_by_role("button", name="Act as this person").click()
    banner = desk.get_by_role("complementary", name="You act as somebody else")
    expect(banner).to_contain_text("Root Example acts as Rip Winkle")
    assert "Ticket 4711" in stage.mail_to(stage.museum["sleeper"])

    desk.get_by_role("link", name="Audit").click()
    expect(desk.get_by_text("Ticket 4711").first).to_be_visible()
    expect(banner).to_be_visible()
    watched.expected.append("status of 404")
    desk.goto("/nowhere/")
    expect(banner).to_be_visible()

    banner.get_by_role("button", name="Stop").click()
    expect(desk.locator(".messagelist")).to_contain_text("You no longer act as Rip Winkle")
    expect(banner).to_have_count(0)
    expect(desk).to_have_url(re.compile("/admin/accounts/user/"))


def test_what_is_theirs_alone_stays_shut(watched: Watched, desk: Page, stage: Stage) -> None:
    desk.goto(f"/admin/accounts/user/?q={stage.museum['email']}")
    desk.get_by_role("link", name=stage.museum["email"]).click()
    desk.get_by_role("link", name="Act as this person").click()
    desk.get_by_label("Reason:").fill("Ticket 4712")
    desk.get_by_role("button", name="Act as this person").click()
    banner = desk.get_by_role("complementary", name="You act as somebody else")
    watched.expected += ["status of 403"]
    for path in ("/accounts/email/", "/admin/"):
        desk.goto(path)
        expect(desk.get_by_text("Stop acting first.")).to_be_visible()
        expect(banner).to_be_visible()
    desk.set_viewport_size({"width": 390, "height": 844})
    desk.goto(f"/w/{stage.museum['workspace']}/clusters/")
    expect(banner.get_by_role("button", name="Stop")).to_be_in_viewport()
    assert desk.evaluate("document.documentElement.scrollWidth") <= 390
    banner.get_by_role("button", name="Stop").click()
    expect(banner).to_have_count(0)


def test_the_pages_of_the_admin_obey_the_policy(desk: Page, stage: Stage) -> None:
    """A list with filters and actions, a form with a search in a field, one with a calendar, a deletion."""
    desk.goto("/admin/accounts/organization/?q=Northwind")
    desk.get_by_role("link", name="Northwind").click()
    desk.get_by_role("link", name=re.compile("in all")).first.click()
    expect(desk.get_by_role("heading", name="Select membership to change")).to_be_visible()
    desk.locator("#action-toggle").check()
    expect(desk.locator(".action-counter")).to_contain_text("selected")
    desk.get_by_label("Action:").select_option(label="Delete selected memberships")
    desk.get_by_role("button", name="Go", exact=True).click()
    expect(desk.get_by_text("Are you sure you want to delete")).to_be_visible()
    desk.get_by_text("No, take me back").click()
    expect(desk.get_by_role("heading", name="Select membership to change")).to_be_visible()

    desk.goto("/admin/accounts/membership/add/")
    desk.locator(".field-user .select2-selection").click()
    desk.locator(".select2-search__field").fill("winkle")
    desk.get_by_role("option", name="Rip Winkle").click()
    expect(desk.locator(".field-user .select2-selection__rendered")).to_contain_text("Rip Winkle")

    desk.goto("/admin/billing/rate/add/")
    desk.get_by_role("link", name="Today").first.click()
    desk.locator("#calendarlink0").click()
    expect(desk.locator("#calendarbox0")).to_be_visible()
