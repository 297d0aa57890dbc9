"""What several tests do or ask on a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect


def badge(within: Locator | Page) -> Locator:
    """The first status shown within a part of a page."""
    return within.locator("[data-status]").first


def status(page: Page) -> Locator:
    """The status in the heading of a cluster's or run's page."""
    return badge(page.locator(".page-title"))


@contextmanager
def stays_loaded(page: Page) -> Iterator[None]:
    """What happens within must need no reload."""
    page.evaluate("window.notReloaded = true")
    yield
    assert page.evaluate("window.notReloaded"), "the page was loaded anew"


def press(page: Page, name: str, *, answer: str = "") -> None:
    """Press a button that leads on to a page; answer its question, if it asks one."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()
        if answer:
            dialog = page.get_by_role("dialog")
            expect(dialog.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
            dialog.get_by_role("button", name=answer, exact=True).click()
