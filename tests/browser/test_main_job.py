"""The main job, whole, as a person does it: from sign-up to the bill, without a reload."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage
from tests.browser.steps import badge, stays_loaded

pytestmark = pytest.mark.browser

EMAIL = "grace@example.org"
PASSWORD = "a compiler for everybody"
JOB = """
import os, sys, time
print("arguments", sys.argv[1:], flush=True)
for step in range(200):
    print("step", step, flush=True)
    if os.path.exists("go"):
        print("all done")
        break
    time.sleep(0.1)
"""


def test_from_sign_up_to_the_bill(watched: Watched, stage: Stage, tmp_path: Path) -> None:
    page = watched.page()

    page.goto("/")
    page.get_by_role("link", name="Create an organization").click()
    page.get_by_label("Organization name").fill("Compilers & Co")
    page.get_by_label("First name").fill("Grace")
    page.get_by_label("Last name").fill("Hopper")
    page.get_by_label(re.compile("^E-?mail")).fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I accept").check()
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()
    page.goto(stage.link_in_mail_to(EMAIL))
    page.get_by_role("button", name="Activate").click()

    page.get_by_label(re.compile("^E-?mail")).fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Workspaces")).to_be_visible()

    drawer = page.get_by_role("dialog")
    page.get_by_role("link", name="Create configuration").click()
    expect(drawer.get_by_label("Name")).to_be_focused()
    drawer.get_by_role("button", name="Validate").click()
    for check in ("Directory", "Write access", "Disk space", "Release environments"):
        expect(drawer.get_by_role("listitem").filter(has_text=re.compile(f"Passed: {check}"))).to_be_visible()
    drawer.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="This machine")).to_be_visible()
    expect(page.get_by_role("status").get_by_text("is ready to use")).to_be_visible()

    page.get_by_role("link", name="Workspaces", exact=True).click()
    page.get_by_role("link", name="Create workspace").click()
    drawer.get_by_label("Name").fill("Lab")
    drawer.get_by_role("button", name="Create workspace").click()
    row = page.get_by_role("row", name="Lab")
    expect(row).to_be_visible()
    with stays_loaded(page):
        expect(badge(row)).to_have_text("READY")
        expect(row.get_by_role("link", name="Enter Lab")).to_be_visible()
    row.get_by_role("link", name="Enter Lab").click()

    page.get_by_role("link", name="Clusters").click()
    page.get_by_role("link", name="Create cluster").click()
    name = drawer.get_by_label("Cluster name")
    name.evaluate("(input) => input.form.noValidate = true")  # the browser's own check is not the one to test
    drawer.get_by_role("button", name="Create cluster").click()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    expect(name).to_have_accessible_description(re.compile("required"))
    expect(drawer.locator(".field:has(#id_name)").get_by_text("required")).to_be_visible()
    name.fill("engine")
    drawer.get_by_label("Number of instances").fill("2")
    drawer.get_by_role("button", name="Create cluster").click()
    expect(page.get_by_role("heading", name="engine", level=1)).to_be_visible()
    with stays_loaded(page):
        expect(badge(page.locator(".page-title"))).to_have_text("RUNNING")
        expect(page.get_by_role("row", name=re.compile("node-"))).to_have_count(2)
        events = page.get_by_role("region", name="Events")
        for step in ("directory", "capacity", "node-1"):
            expect(events.get_by_text(re.compile(rf"\b{step}\b")).first).to_be_visible()

    job = tmp_path / "job.py"
    job.write_text(JOB)
    page.get_by_role("link", name="Files").click()
    with stays_loaded(page):
        page.get_by_label("Drop files here").set_input_files(job)
        upload = page.get_by_role("list", name="Uploads").get_by_role("listitem")
        expect(upload).to_contain_text("job.py")
        expect(upload).to_contain_text("Done")
        expect(page.get_by_role("row", name="job.py")).to_be_visible()

    page.get_by_role("row", name="job.py").get_by_role("link", name="Run job.py").click()
    drawer.get_by_label("Run name").fill("first run")
    drawer.get_by_role("button", name="Next: Source").click()
    expect(drawer.get_by_role("textbox", name="File")).to_have_value("job.py")
    drawer.get_by_role("button", name="Next: Options").click()
    drawer.get_by_label("Arguments").fill("--day 'two words'")
    drawer.get_by_role("button", name="Next: Cluster").click()
    expect(drawer.get_by_role("combobox", name="Cluster")).to_have_text(re.compile("engine"))
    drawer.get_by_role("button", name="Run job").click()
    expect(page.get_by_role("heading", name="first run", level=1)).to_be_visible()
    status = badge(page.locator(".page-title"))
    log = page.get_by_role("tabpanel")
    with stays_loaded(page):
        expect(status).to_have_text("RUNNING")
        expect(log).to_contain_text("arguments ['--day', 'two words']")
        expect(log).to_contain_text("step 5")
        expect(status).to_have_text("RUNNING")
        expect(log).not_to_contain_text("all done")
        [shared] = stage.home.glob(f"local/*/workspaces/{page.url.split('/')[4]}/bodofs")
        (shared / "go").touch()
        expect(log).to_contain_text("all done")
        expect(status).to_have_text("SUCCEEDED")
        expect(page.get_by_text("Complete.")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel job")).to_have_count(0)

    page.get_by_role("link", name="Back to Organization").click()
    page.get_by_role("link", name="Billing").click()
    expect(page.get_by_text("cluster at 0.12 USD per hour")).to_be_visible()
    page.get_by_role("region", name="By cluster").get_by_role("link", name="engine").click()
    interval = page.get_by_role("region", name="Intervals").get_by_role("row", name=re.compile("engine"))
    expect(interval).to_contain_text("2 × local.1x")
    expect(interval).to_contain_text("OPEN")
    interval.get_by_role("link", name="engine").click()
    began = page.get_by_role("region", name="Lines of the ledger").get_by_role("row", name=re.compile("begins"))
    expect(began).to_contain_text("Became RUNNING")
