"""A cluster's life through its buttons; every change comes to the page by itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import press, status, stays_loaded

pytestmark = pytest.mark.browser


def test_pause_resume_scale_stop_delete(page: Page, make_cluster: Callable[..., str]) -> None:
    page.goto(make_cluster())
    nodes = page.get_by_role("row", name=re.compile("node-"))

    def reaches(name: str) -> None:
        with stays_loaded(page):
            expect(status(page)).to_have_text(name)

    reaches("RUNNING")
    expect(nodes).to_have_count(1)

    press(page, "Pause")
    reaches("PAUSED")
    expect(nodes).to_have_count(0)
    expect(page.get_by_text("No machine is running. The disks are kept.")).to_be_visible()

    press(page, "Resume")
    reaches("RUNNING")

    page.locator("summary", has_text="Scale").click()
    page.get_by_label("Number of instances").fill("2")
    press(page, "Scale")
    with stays_loaded(page):
        expect(nodes).to_have_count(2)
        expect(page.get_by_text("2 of 2 deployed")).to_be_visible()

    why = page.get_by_role("button", name="Resume")
    expect(why).to_have_attribute("aria-disabled", "true")
    expect(why).to_have_accessible_description("It is not paused or stopped.")

    page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Stop engine?")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    expect(status(page)).to_have_text("RUNNING")
    press(page, "Stop", answer="Stop")
    reaches("STOPPED")

    press(page, "Delete", answer="Delete")
    with stays_loaded(page):
        expect(status(page)).to_have_text("TERMINATED")
        expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Clusters").click()
    expect(page.get_by_text("No clusters yet")).to_be_visible()


def test_a_killed_node_fails_the_cluster_and_says_what_to_do(page: Page, make_cluster: Callable[..., str]) -> None:
    page.goto(make_cluster())
    expect(status(page)).to_have_text("RUNNING")
    address = page.get_by_role("row", name=re.compile("node-0")).get_by_role("cell", name=re.compile("pid"))
    found = re.search(r"pid (\d+)", address.inner_text())
    assert found
    with stays_loaded(page):
        os.kill(int(found[1]), signal.SIGKILL)
        expect(status(page)).to_have_text("FAILED")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("node-0 is gone.")
        expect(alert).to_contain_text("Resume the cluster to get new machines.")
    press(page, "Resume")
    with stays_loaded(page):
        expect(status(page)).to_have_text("RUNNING")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_the_list_follows_each_cluster(page: Page, make_cluster: Callable[..., str]) -> None:
    workspace = make_cluster("first").split("/")[2]
    page.goto(f"/w/{workspace}/clusters/")
    with stays_loaded(page):
        expect(page.get_by_role("row", name=re.compile("first")).locator("[data-status]")).to_have_text("RUNNING")
        make_cluster("second")  # as a colleague would
        expect(page.get_by_role("row", name=re.compile("second")).locator("[data-status]")).to_have_text("RUNNING")
        page.get_by_label("Filter by name").fill("sec")
        expect(page.get_by_role("row", name=re.compile("first"))).to_have_count(0)
        expect(page.get_by_role("row", name=re.compile("second"))).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?q=sec"))
    page.reload()
    expect(page.get_by_label("Filter by name")).to_have_value("sec")


def test_a_form_that_is_open_is_not_replaced(page: Page, make_cluster: Callable[..., str]) -> None:
    page.goto(make_cluster())
    expect(status(page)).to_have_text("RUNNING")
    page.locator("summary", has_text="Scale").click()
    number = page.get_by_label("Number of instances")
    number.fill("2")
    with page.expect_response(re.compile("/live/$")):
        page.evaluate("htmx.trigger('#cluster-live', 'refresh')")
    expect(number).to_be_visible()
    expect(number).to_have_value("2")
    with page.expect_response(re.compile("/live/$")):
        page.keyboard.press("Escape")
    expect(number).to_be_hidden()
