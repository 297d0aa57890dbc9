"""Takes a picture of every page: ``python -m tests.browser.screenshots FOLDER [NAME …]``.

All pages and drawers of ``pages``, 1600 and 390 pixels wide, light and dark, and ``console.png``, the picture for
docs/images. Not a test: somebody has to look.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, PROGRAMS
from tests.browser.pages import DRAWERS, PAGES
from tests.browser.stage import Stage, stage

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES: dict[str, ViewportSize] = {"wide": {"width": 1600, "height": 1000}, "narrow": {"width": 390, "height": 844}}


def main(folder: Path, names: list[str]) -> None:
    """Fill the folder with ``NAME-SIZE-THEME.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with stage(0) as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        for name in names or [*PAGES, *DRAWERS]:
            where = DRAWERS[name][0] if name in DRAWERS else name
            page = open_page(browser, running, where)
            if name in DRAWERS:
                open_drawer(page, name)
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)
                for theme in THEMES:
                    page.emulate_media(color_scheme=theme)
                    page.screenshot(path=folder / f"{name}-{size}-{theme}.png", full_page=name not in DRAWERS)
            page.context.close()
        page = open_page(browser, running, "run-running")
        page.set_viewport_size({"width": 1600, "height": 1100})
        page.screenshot(path=folder / "console.png")
        browser.close()


def open_page(browser: Browser, running: Stage, name: str) -> Page:
    """A page in a profile of its own, once scripts have done their part."""
    see = PAGES[name]
    context = browser.new_context(base_url=running.address, locale="en-US", reduced_motion="reduce")
    if session := see.session(running):
        for address in (running.address, running.named):
            context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
    page = context.new_page()
    page.goto(see.address(running))
    expect(page.locator(see.ready)).to_be_visible()
    return page


def open_drawer(page: Page, name: str) -> None:
    """The drawer over that page, with the errors of an empty form."""
    _, opener, button = DRAWERS[name]
    page.get_by_role("link", name=opener, exact=True).click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_be_visible()
    if button:
        page.evaluate("document.querySelectorAll('#drawer form').forEach((form) => { form.noValidate = true })")
        drawer.get_by_role("button", name=button).click()
        expect(drawer.locator(".errorlist, .checks").first).to_be_visible()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
