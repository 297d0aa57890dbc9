"""With scripts switched off, links and forms alone do the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Tenant
from tests.browser.steps import status
from tests.factories import PASSWORD

pytestmark = pytest.mark.browser


def reload_until(page: Page, name: str) -> None:
    """Without scripts a page stands still; a person reloads it."""
    for _ in range(60):
        if status(page).inner_text() == name:
            return
        page.wait_for_timeout(250)
        page.reload()
    expect(status(page)).to_have_text(name)


def test_the_main_job_with_plain_forms(watched: Watched, tenant: Tenant) -> None:
    page = watched.page(java_script_enabled=False)
    page.goto(f"/o/{tenant.organization}/workspaces/")
    page.get_by_label("Email").fill(tenant.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    page.get_by_role("link", name="Create workspace").click()
    page.get_by_label("Name").fill("Laboratory")
    page.get_by_role("button", name="Create workspace").click()
    expect(page.get_by_text("A workspace of this name exists.")).to_be_visible()
    page.get_by_label("Name").fill("Attic")
    page.get_by_role("button", name="Create workspace").click()
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()
    expect(page.get_by_role("row", name="Attic")).to_be_visible()
    page.get_by_role("link", name="Enter Laboratory").click()

    page.get_by_label("Add files:").set_input_files(
        {
            "name": "job.py",
            "mimeType": "text/x-python",
            "buffer": b"import time\nprint('hi', flush=True)\ntime.sleep(99)",
        }
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("row", name="job.py")).to_be_visible()

    page.get_by_role("link", name="Clusters").click()
    page.get_by_role("link", name="Create cluster").click()
    page.get_by_label("Cluster name").fill("plain")
    page.get_by_role("button", name="Create cluster").click()
    reload_until(page, "RUNNING")

    page.get_by_role("link", name="Run job").click()
    page.get_by_label("Run name").fill("plain run")
    page.get_by_role("button", name="Next: Source").click()
    page.get_by_role("textbox", name="File").fill("job.py")
    page.get_by_role("button", name="Run job").click()
    reload_until(page, "RUNNING")
    for _ in range(40):
        if "hi" in page.get_by_label("stdout").inner_text():
            break
        page.reload()
    expect(page.locator("pre.log")).to_contain_text("hi")
    page.get_by_role("button", name="Cancel job").click()
    reload_until(page, "CANCELLED")

    page.get_by_role("link", name="Clusters").click()
    page.get_by_role("link", name="plain", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    reload_until(page, "TERMINATED")
    page.get_by_text("Your account").or_(page.get_by_label("Your account")).first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
