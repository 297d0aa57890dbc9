"""Everything can be reached and left with the keyboard alone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Tenant

pytestmark = pytest.mark.browser


def focused(page: Page) -> Any:
    """Tag, text and label of what has the focus."""
    return page.evaluate(
        "(({ tagName, textContent, ariaLabel, name }) => [tagName, textContent.trim(), ariaLabel, name])"
        "(document.activeElement)"
    )


def test_skip_link_filter_drawer_and_back(page: Page, tenant: Tenant, make_cluster: Any) -> None:
    make_cluster()
    page.goto(f"/w/{tenant.workspace}/clusters/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()

    page.keyboard.press("/")
    expect(page.get_by_label("Filter by name")).to_be_focused()
    page.keyboard.type("/")
    expect(page.get_by_label("Filter by name")).to_have_value("/")
    page.keyboard.press("Backspace")

    page.keyboard.press("Shift+Tab")
    opener = page.get_by_role("link", name="Create cluster")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog", name="Create cluster")
    expect(drawer.get_by_label("Cluster name")).to_be_focused()
    seen = []
    for _ in range(12):
        _, text, _, name = focused(page)[:4]
        seen.append(text if name == "action" else name or text)
        page.keyboard.press("Tab")
    order = ["name", "instance_type", "instances", "release", "auto_pause_minutes", "auto_stop_minutes"]
    assert seen[: len(order)] == order
    assert {"More options", "Create cluster", "Cancel"} <= set(seen)
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(opener).to_be_focused()

    page.keyboard.press("Enter")
    expect(drawer.get_by_label("Cluster name")).to_be_focused()
    page.keyboard.type("half")
    page.keyboard.press("Escape")
    question = page.get_by_role("dialog", name="Discard what you entered?")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(drawer.get_by_label("Cluster name")).to_have_value("half")
    page.keyboard.press("Escape")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(question.get_by_role("button", name="Discard")).to_be_focused()
    page.keyboard.press("Enter")
    expect(drawer).to_be_hidden()
    expect(opener).to_be_focused()


def test_the_end_of_a_question_is_not_the_answer_to_the_next(page: Page, tenant: Tenant) -> None:
    page.goto(f"/w/{tenant.workspace}/clusters/")
    page.get_by_role("link", name="Create cluster").first.click()
    drawer = page.get_by_role("dialog", name="Create cluster")
    drawer.get_by_label("Cluster name").fill("half")
    page.keyboard.press("Escape")
    question = page.get_by_role("dialog", name="Discard what you entered?")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    page.evaluate(  # in one task: the close event of the first comes when the second stands
        """() => {
            document.querySelector("#confirm-dialog").close();
            document.querySelector("#drawer-dialog").dispatchEvent(new Event("cancel", {cancelable: true}));
        }"""
    )
    question.get_by_role("button", name="Discard").click()
    expect(drawer).to_be_hidden()


def test_a_menu_opens_and_closes(page: Page, tenant: Tenant) -> None:
    page.goto(f"/o/{tenant.organization}/workspaces/")
    summary = page.locator("summary[aria-label^=Organization]")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="New organization")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="New organization")).to_be_hidden()
    expect(summary).to_be_focused()


def test_the_sidebar_of_a_small_screen(page: Page, tenant: Tenant) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/w/{tenant.workspace}/clusters/")
    expect(page.get_by_role("link", name="Jobs")).to_be_hidden()
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Jobs")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Jobs")).to_be_hidden()
    expect(page.get_by_role("button", name="Menu")).to_be_focused()
