"""Runs: cancelled, failed, and refused, as the page shows it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press, status, stays_loaded

pytestmark = pytest.mark.browser

ENDLESS = "import time\nprint('at work', flush=True)\ntime.sleep(120)\n"


def submit(stage: Stage, tenant: Tenant, cluster_page: str, file: str) -> str:
    """Queue a run by the form; returns the path of its page."""
    form = {
        "name": file,
        "cluster": cluster_page.rstrip("/").rpartition("/")[2],
        "file": file,
        "mode": "spawn",
        "timeout_minutes": "5",
        "auto_resume": "on",
    }
    return stage.post(tenant, f"/w/{tenant.workspace}/jobs/new/", form)


def test_cancel_a_run_and_the_next_one_starts(
    page: Page, stage: Stage, tenant: Tenant, make_cluster: Callable[..., str]
) -> None:
    (tenant.files / "endless.py").write_text(ENDLESS)
    (tenant.files / "wrong.py").write_text("import sys\nprint('no good', file=sys.stderr)\nsys.exit(3)\n")
    cluster = make_cluster()
    first = submit(stage, tenant, cluster, "endless.py")
    second = submit(stage, tenant, cluster, "wrong.py")
    page.goto(first)
    with stays_loaded(page):
        expect(page.get_by_role("tabpanel")).to_contain_text("at work")
        expect(status(page)).to_have_text("RUNNING")
    waiting = page.context.new_page()
    waiting.goto(second)
    expect(waiting.get_by_text("In queue · position 1 in the queue")).to_be_visible()

    page.bring_to_front()
    press(page, "Cancel job", answer="Cancel the job")
    with stays_loaded(page):
        expect(status(page)).to_have_text("CANCELLED")
        expect(page.get_by_text("Cancelled by user")).to_be_visible()

    waiting.bring_to_front()
    with stays_loaded(waiting):
        expect(status(waiting)).to_have_text("FAILED")
        expect(waiting.locator("dl").get_by_text("3", exact=True)).to_be_visible()
        waiting.get_by_role("tab", name="stderr").click()
        expect(waiting.get_by_role("tabpanel")).to_contain_text("no good")
        waiting.keyboard.press("ArrowLeft")
        expect(waiting.get_by_role("tab", name="stdout")).to_be_focused()
        expect(waiting.get_by_text("Nothing was written to stdout.")).to_be_visible()


def test_the_form_keeps_what_was_typed_and_says_what_is_wrong(
    page: Page, tenant: Tenant, make_cluster: Callable[..., str]
) -> None:
    make_cluster()
    page.goto(f"/w/{tenant.workspace}/jobs/")
    page.get_by_role("link", name="Run job").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Run name").fill("<b>mine</b>")
    drawer.get_by_role("button", name="Next: Source").click()
    file = drawer.get_by_role("textbox", name="File")
    file.fill("missing.py")
    with stays_loaded(page):
        drawer.get_by_role("button", name="Run job").click()
        expect(file).to_have_accessible_description(re.compile("missing.py"))
    expect(file).to_be_focused()
    drawer.get_by_role("button", name="Back").click()
    expect(drawer.get_by_label("Run name")).to_have_value("<b>mine</b>")

    page.keyboard.press("Escape")
    question = page.get_by_role("dialog", name="Discard what you entered?")
    expect(question).to_have_count(0)  # what was sent and came back is as it was shown
    expect(drawer).to_be_hidden()
