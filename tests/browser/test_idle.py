"""The countdown of an idle cluster ticks, and is put off from the page and by the link in a mail."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage
from tests.browser.steps import press, status, stays_loaded

pytestmark = pytest.mark.browser
LEFT = re.compile(r"^in 59 min \d+ s$")


def test_the_countdown_ticks_and_a_snooze_puts_it_off(page: Page, make_cluster: Callable[..., str]) -> None:
    address = make_cluster()
    page.goto(address)
    expect(status(page)).to_have_text("RUNNING")
    countdown = page.locator('#cluster-live time[data-time="countdown"]')
    with stays_loaded(page):
        expect(countdown).to_have_text(LEFT)
        first = countdown.inner_text()
        place = page.locator("#idleness").bounding_box()
        expect(countdown).not_to_have_text(first)
        assert page.locator("#idleness").bounding_box() == place, "the page jumps"
        expect(page.get_by_text("After 60 min without a job.")).to_be_visible()

    page.locator("#action-snooze").click()
    page.get_by_label("Do not pause it within").select_option("4 hours")
    press(page, "Snooze")
    expect(page.get_by_text("Snoozed by")).to_be_visible()
    expect(countdown).to_have_text(re.compile(r"^in (3 h 59 min|4 h 0 min)$"))

    page.goto(address.partition("clusters/")[0] + "clusters/")
    row = page.get_by_role("row", name="engine")
    expect(row.get_by_text("snoozed")).to_be_visible()
    expect(row.locator("time")).to_have_text(re.compile(r"^in (3 h 59 min|4 h 0 min)$"))

    page.goto(address)
    press(page, "End snooze")
    expect(countdown).to_have_text(LEFT)


def test_a_snooze_elsewhere_shows_at_once(
    page: Page, watched: Watched, stage: Stage, make_cluster: Callable[..., str]
) -> None:
    address = make_cluster()
    page.goto(address)
    expect(status(page)).to_have_text("RUNNING")
    other = page.context.new_page()
    other.goto(address)
    other.locator("#action-snooze").click()
    press(other, "Snooze")
    page.bring_to_front()
    with stays_loaded(page):
        expect(page.get_by_text("Snoozed by")).to_be_visible()


def test_the_link_in_the_mail(watched: Watched, stage: Stage) -> None:
    """By somebody who is not signed in: looking changes nothing, the button does."""
    page = watched.page()
    link = f"/snooze/{stage.museum['snooze_key']}/"
    page.goto(link)
    page.goto(link)
    expect(page.get_by_text("It will be paused at")).to_be_visible()
    expect(page.locator(".notice.good")).to_have_count(0)
    page.get_by_label("4 hours").check()
    press(page, "Let it run on")
    expect(page.locator(".notice.good")).to_contain_text("Snoozed")
    expect(page.get_by_text("It runs on until")).to_be_visible()
    page.get_by_role("link", name="Open the cluster").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_without_scripts_the_time_stands_there(watched: Watched, stage: Stage) -> None:
    page = watched.page(str(stage.museum["session"]), java_script_enabled=False)
    page.goto("/w/{workspace}/clusters/{snoozed_cluster}/".format(**stage.museum))
    time = re.compile(r"^Pauses \d{4}-\d\d-\d\d \d\d:\d\d UTC\s*$")
    expect(page.locator("#idleness")).to_have_text(time, use_inner_text=True)
