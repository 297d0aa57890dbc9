"""Every page: readable by ear and eye, no wider than the screen, in the light and in the dark, without a complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import Watched
from tests.browser.pages import DRAWERS, PAGES, STRANGER
from tests.browser.stage import Stage

pytestmark = pytest.mark.browser

INSPECT = (Path(__file__).parent / "inspect.js").read_text()
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDE: ViewportSize = {"width": 1600, "height": 1000}
NARROW: ViewportSize = {"width": 390, "height": 844}


def inspect(page: Page, **parts: bool) -> Any:
    return page.evaluate(INSPECT, parts)


def layout(page: Page, size: ViewportSize) -> Any:
    page.set_viewport_size(size)
    page.wait_for_function("(width) => innerWidth === width", arg=size["width"])
    return inspect(page, layout=True)


@pytest.mark.parametrize("name", PAGES)
def test_page(watched: Watched, stage: Stage, name: str) -> None:
    see = PAGES[name]
    page = watched.page(see.session(stage), viewport=WIDE, color_scheme="light")
    if see.status != 200:
        watched.expected.append(f"status of {see.status}")
    response = page.goto(see.address(stage))
    assert response
    assert response.status == see.status
    expect(page.locator(see.ready)).to_be_visible()
    wrong = inspect(page, public=see.by == STRANGER or see.status != 200, structure=True, names=True)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        wrong += [f"{theme}: {sentence}" for sentence in inspect(page, contrast=True)]
    wrong += layout(page, WIDE) + layout(page, NARROW)
    assert wrong == []


@pytest.mark.parametrize("name", DRAWERS)
def test_drawer(watched: Watched, stage: Stage, name: str) -> None:
    """The same for forms in the drawer, also with errors in them."""
    where, opener, button = DRAWERS[name]
    page = watched.page(PAGES[where].session(stage), viewport=WIDE, color_scheme="light")
    page.goto(PAGES[where].address(stage))
    page.get_by_role("link", name=opener, exact=True).click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_be_visible()
    if button:
        page.evaluate("document.querySelectorAll('#drawer form').forEach((form) => { form.noValidate = true })")
        with page.expect_response(lambda response: response.request.method == "POST"):
            drawer.get_by_role("button", name=button).click()
        expect(drawer.locator(".errorlist, .checks").first).to_be_visible()
    wrong = inspect(page, names=True)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        wrong += [f"{theme}: {sentence}" for sentence in inspect(page, contrast=True)]
    wrong += layout(page, NARROW)
    assert wrong == []


def test_a_chosen_theme_stays(watched: Watched, stage: Stage) -> None:
    page = watched.page(stage.museum["session"], color_scheme="light")
    page.goto(PAGES["workspaces"].address(stage))
    page.get_by_label("Your account").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_the_inspection_finds_what_is_wrong(watched: Watched, stage: Stage) -> None:
    page = watched.page(stage.museum["session"], viewport=NARROW)
    page.goto(PAGES["people"].address(stage))
    page.evaluate(
        """() => {
          document.querySelector("main").insertAdjacentHTML("beforeend", `
            <h1>Again</h1><input name="nameless" id="sidebar"><button></button><img src="/static/portal/favicon.svg">
            <svg viewBox="0 0 1 1"></svg><table><tr><td>1</td></tr></table>
            <font color="#999999">faint</font><pre class="wide">${"x".repeat(300)}</pre>`);
          document.body.insertAdjacentHTML("beforeend", '<p style="color: red">styled</p>');
        }"""
    )
    wrong = inspect(page, structure=True, names=True, contrast=True, layout=True)
    for part in (
        "2 × h1",
        "no label",
        "twice",
        "no name",
        "no alt",
        "an icon in",
        "no headers",
        "contrast 2",
        "wide at",
    ):
        assert any(part in sentence for sentence in wrong), (part, wrong)
    assert any("CSP: style-src" in complaint for complaint in watched.complaints)
    watched.expected += ["style-src", "Content Security Policy"]
