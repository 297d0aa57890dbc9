"""Templates and schedules as a person uses them, with secrets, a catalog, attempts and the log of each."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press, status, stays_loaded

pytestmark = pytest.mark.browser

JOB = r"""
import json, os, sys, time
print("arguments", sys.argv[1:])
print("catalog", json.loads(os.environ["PORTAL_CATALOG"])["name"])
print("the password is", os.environ["PASSWORD"])
for number in range(200):
    print("line", number, flush=True)
if not os.path.exists("tried"):
    open("tried", "w").close()
    print("needle in the first attempt", flush=True)
    sys.exit(3)
print("\x1b[32mgreen\x1b[0m", flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
print("all done")
"""


def furnish(stage: Stage, tenant: Tenant) -> None:
    """A file, a group with a secret, and a catalog over all files."""
    (tenant.files / "job.py").write_text(JOB)
    at = f"/w/{tenant.workspace}"
    stage.post(tenant, f"{at}/secrets/groups/new/", {"name": "warehouse"})
    stage.post(tenant, f"{at}/catalogs/new/?kind=FILESYSTEM", {"kind": "FILESYSTEM", "name": "lake", "directory": ""})


def test_a_template_from_its_first_step_to_the_reuse_of_its_name(
    page: Page, watched: Watched, stage: Stage, tenant: Tenant, make_cluster: Callable[..., str]
) -> None:
    furnish(stage, tenant)
    make_cluster()
    page.goto(f"/w/{tenant.workspace}/secrets/")
    drawer = page.get_by_role("dialog")
    page.get_by_role("link", name="Add secret to warehouse").click()
    drawer.get_by_label("Name").fill("database")
    drawer.get_by_label("Key", exact=True).first.fill("PASSWORD")
    drawer.get_by_label("Value", exact=True).first.fill("hunter22")
    drawer.get_by_role("button", name="Add secret").click()
    expect(page.get_by_text("Its values cannot be seen any more")).to_be_visible()

    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="Templates").click()
    page.get_by_role("link", name="New template").click()
    name = drawer.get_by_label("Name", exact=True)
    drawer.get_by_role("button", name="Next: Source").click()
    expect(name).to_have_accessible_description(re.compile("required"))
    name.fill("Load orders")
    drawer.get_by_label("Tags").fill("team=data")
    drawer.get_by_role("button", name="Next: Source").click()
    file = drawer.get_by_role("textbox", name="File")
    where = drawer.get_by_label("Where the code is")
    where.select_option(label="A git repository")
    expect(drawer.get_by_label("Repository")).to_be_visible()
    where.select_option(label="A file of this workspace")
    expect(drawer.get_by_label("Repository")).to_have_count(0)
    file.fill("missing.py")
    drawer.get_by_role("button", name="Next: Options").click()
    expect(file).to_have_accessible_description(re.compile("missing.py"))
    file.fill("job.py")
    drawer.get_by_role("combobox", name="Catalog").select_option(label="lake")
    drawer.get_by_role("button", name="Next: Options").click()
    drawer.get_by_label("Arguments").fill("--day monday")
    drawer.get_by_label("warehouse").check()
    drawer.get_by_label("Further attempts after a failure").fill("1")
    drawer.get_by_label("Minutes between attempts").fill("0")
    drawer.get_by_role("button", name="Next: Cluster").click()
    drawer.get_by_role("combobox", name="Cluster").select_option(label="engine")
    drawer.get_by_role("button", name="Create template").click()
    expect(page.get_by_role("heading", name="Load orders", level=1)).to_be_visible()
    definition = page.get_by_role("region", name="Definition")
    for part in ("job.py", "lake", "warehouse", "team=data", "--day", "1 further attempt"):
        expect(definition).to_contain_text(part)
    template = page.url

    page.goto(f"/w/{tenant.workspace}/catalogs/")
    page.get_by_role("link", name="lake").click()
    expect(page.get_by_role("region", name="Used by")).to_contain_text("template Load orders")
    page.goto(f"/w/{tenant.workspace}/secrets/")
    watched.expected.append("status of 409")
    press(page, "Delete the group warehouse", answer="Delete group")
    expect(page.get_by_text("warehouse is used by template Load orders.")).to_be_visible()

    page.goto(template)
    page.get_by_role("link", name="Run with changes").click()
    drawer.get_by_label("Run name").fill("Orders of Tuesday")
    drawer.get_by_role("button", name="Options", exact=True).click()
    drawer.get_by_label("Arguments").fill("--day tuesday")
    drawer.get_by_role("button", name="Run job").click()
    expect(page.get_by_role("heading", name="Orders of Tuesday", level=1)).to_be_visible()
    log = page.get_by_role("tabpanel")
    attempts = page.get_by_role("table", name="Attempts")
    with stays_loaded(page):
        expect(attempts.get_by_role("row")).to_have_count(3)
        expect(log).to_contain_text("green")  # the newest attempt takes over from the one that failed
        expect(log).to_contain_text("arguments ['--day', 'tuesday']")
        expect(log).to_contain_text("catalog lake")
        expect(log).to_contain_text("the password is ********")
        follow = page.get_by_role("button", name="Follow")
        follow.click()
        expect(follow).to_have_attribute("aria-pressed", "false")
        log.evaluate("(log) => { log.scrollTop = 0; }")
        (tenant.files / "go").touch()
        expect(status(page)).to_have_text("SUCCEEDED")
        expect(log).to_contain_text("all done")
        assert log.evaluate("(log) => log.scrollTop") == 0
        follow.click()
        assert log.evaluate("(log) => log.scrollTop") > 0

    attempts.get_by_role("row", name=re.compile("NonZeroExitCode")).get_by_role("link", name="Log").click()
    expect(log).to_contain_text("needle in the first attempt")
    search = page.get_by_role("searchbox", name="Search the whole log")
    search.fill("NEEDLE")
    search.press("Enter")
    expect(page.get_by_text("1 line", exact=True)).to_be_visible()
    search.fill("hunter22")
    search.press("Enter")
    expect(page.get_by_text("No lines", exact=True)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    text = download.value.path().read_text()
    assert "needle in the first attempt" in text
    assert "hunter22" not in text

    page.get_by_role("link", name="Jobs", exact=True).first.click()
    found = page.get_by_role("row", name=re.compile("Orders of Tuesday"))
    expect(found).to_contain_text("SUCCEEDED")
    page.get_by_label("Status", exact=True).select_option("FAILED")
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("searchbox", name="Filter by name").fill("tues")
    expect(found).to_have_count(1)

    page.goto(template)
    page.get_by_role("link", name="Clone").click()
    expect(name).to_have_value("Load orders copy")
    drawer.get_by_role("button", name="Create template").click()
    expect(page.get_by_role("heading", name="Load orders copy")).to_be_visible()
    copy = page.url
    page.goto(template)
    press(page, "Delete", answer="Delete")
    expect(page.get_by_role("link", name="Load orders", exact=True)).to_have_count(0)
    page.goto(copy)
    page.get_by_role("link", name="Edit").click()
    name.fill("Load orders")
    drawer.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Load orders", exact=True, level=1)).to_be_visible()


def test_a_schedule_is_made_looked_at_switched_and_run(page: Page, stage: Stage, tenant: Tenant) -> None:
    (tenant.files / "job.py").write_text("print('done')\n")
    form = {"name": "Report", "file": "job.py", "place": "new", "instance_type": "local.1x", "release": "2026.10"}
    stage.post(tenant, f"/w/{tenant.workspace}/jobs/templates/new/", form)
    page.goto(f"/w/{tenant.workspace}/jobs/schedules/")
    page.get_by_role("link", name="New schedule").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Name").fill("Nightly report")
    drawer.get_by_label("Template").select_option(label="Report")
    drawer.get_by_label("Cron expression").fill("30 2 * *")
    drawer.get_by_label("Time zone").select_option("Europe/Berlin")
    drawer.get_by_role("button", name="Show the next ten times").click()
    expect(drawer.get_by_text("There are 4 fields where five belong.")).to_be_visible()
    drawer.get_by_label("Cron expression").fill("30 2 * * *")
    drawer.get_by_role("button", name="Show the next ten times").click()
    expect(drawer.get_by_role("row", name=re.compile("02:30"))).to_have_count(10)
    drawer.get_by_role("button", name="Create schedule").click()
    expect(page.get_by_role("heading", name="Nightly report", level=1)).to_be_visible()
    ahead = page.get_by_role("region", name="Next ten times")
    expect(ahead.get_by_role("row", name=re.compile("02:30"))).to_have_count(10)
    schedule = page.url

    press(page, "Switch off")
    expect(ahead).to_contain_text("It is switched off.")
    press(page, "Switch on")
    expect(ahead.get_by_role("row")).to_have_count(11)
    press(page, "Run now")
    with stays_loaded(page):
        expect(status(page)).to_have_text("SUCCEEDED")
        expect(page.get_by_role("link", name="Nightly report")).to_be_visible()
        expect(page.get_by_role("region", name="Details")).to_contain_text("made for this run")
    page.get_by_role("link", name="Run again").click()
    expect(drawer.get_by_label("Run name")).to_have_value("Report")
    drawer.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="Clusters").click()
    ended = page.get_by_role("row", name=re.compile("Report .*TERMINATED"))  # where its end was seen live
    expect(page.get_by_role("heading", name="No clusters yet").or_(ended)).to_be_visible()
    page.goto(schedule)
    press(page, "Delete", answer="Delete")
    expect(page.get_by_role("heading", name="No schedules yet")).to_be_visible()
