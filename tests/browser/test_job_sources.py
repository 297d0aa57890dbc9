"""Jobs from an address and as a query: what they ran, what they left, and how they become templates."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import status, stays_loaded

pytestmark = pytest.mark.browser

JOB = b"""
import os, pathlib
folder = pathlib.Path(os.environ["PORTAL_OUTPUT"])
(folder / "tables").mkdir()
(folder / "tables" / "summary.csv").write_text("day,orders\\nmonday,7\\n")
print("from the web")
"""


@pytest.fixture
def web() -> Iterator[str]:
    """A web server with a job."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(JOB)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_job_from_an_address_leaves_files_and_becomes_a_template(
    page: Page, tenant: Tenant, web: str, make_cluster: Callable[..., str]
) -> None:
    make_cluster()
    page.goto(f"/w/{tenant.workspace}/jobs/")
    page.get_by_role("link", name="Run job").first.click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Run name").fill("Shared")
    drawer.get_by_role("button", name="Next: Source").click()
    drawer.get_by_label("Where the code is").select_option(label="An S3 bucket")
    expect(drawer.get_by_label("Region of the bucket")).to_be_visible()
    drawer.get_by_label("Where the code is").select_option(label="An address on the web")
    drawer.get_by_label("Address").fill(f"{web}/summary.py?signature=sesame")
    drawer.get_by_role("button", name="Next: Options").click()
    drawer.get_by_role("button", name="Next: Cluster").click()
    drawer.get_by_role("combobox", name="Cluster").select_option(label="engine")
    drawer.get_by_role("button", name="Run job").click()
    expect(page.get_by_role("heading", name="Shared", level=1)).to_be_visible()
    with stays_loaded(page):
        expect(status(page)).to_have_text("SUCCEEDED")
        expect(page.get_by_role("tabpanel")).to_contain_text("from the web")
        files = page.get_by_role("region", name="Output files")
        expect(files).to_contain_text("tables/summary.csv")
    assert "sesame" not in page.content()
    with page.expect_download() as download:
        files.get_by_role("link", name="Download tables/summary.csv").click()
    assert download.value.path().read_text() == "day,orders\nmonday,7\n"

    page.get_by_role("link", name="Save as template").click()
    drawer.get_by_label("Name", exact=True).fill("Shared summary")
    drawer.get_by_role("button", name="Create template").click()
    expect(page.get_by_role("heading", name="Shared summary", level=1)).to_be_visible()
    expect(page.get_by_role("region", name="Definition")).to_contain_text("/summary.py?…")


def test_a_query_says_what_it_lacks_and_why_it_failed(
    page: Page, tenant: Tenant, make_cluster: Callable[..., str]
) -> None:
    """The release of this stage has no BodoSQL, which is what the run's page says."""
    make_cluster()
    page.goto(f"/w/{tenant.workspace}/jobs/")
    page.get_by_role("link", name="Run job").first.click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Run name").fill("Revenue")
    drawer.get_by_role("radio", name=re.compile("SQL")).check()
    drawer.get_by_role("button", name="Next: Source").click()
    drawer.get_by_role("textbox", name="Query").fill("select * from orders where day = @day")
    drawer.get_by_role("button", name="Next: Options").click()
    values = drawer.get_by_label("Parameters")
    expect(values).to_have_accessible_description(re.compile("The query uses @day: give it a value."))
    values.fill("day=2026-11-01")
    drawer.get_by_role("button", name="Next: Options").click()
    drawer.get_by_role("button", name="Next: Cluster").click()
    drawer.get_by_role("combobox", name="Cluster").select_option(label="engine")
    drawer.get_by_role("button", name="Run job").click()
    expect(page.get_by_role("heading", name="Revenue", level=1)).to_be_visible()
    with stays_loaded(page):
        expect(status(page)).to_have_text("FAILED")
        expect(page.get_by_text("No module named 'bodosql'").first).to_be_visible()


def test_the_result_of_a_query_is_a_table_with_files_below(watched: Watched, stage: Stage) -> None:
    page = watched.page(stage.museum["session"])
    page.goto(f"/w/{stage.museum['workspace']}/jobs/{stage.museum['query_run']}/")
    table = page.get_by_role("region", name="Result", exact=True).last
    expect(table.get_by_role("row")).to_have_count(1001)
    expect(table.get_by_role("columnheader").nth(3)).to_have_class("number")
    expect(table.get_by_role("row").nth(1)).to_contain_text("Customer 0000")
    expect(page.get_by_text("1,204,318 rows; the first 1,000 are shown")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download result/part-00000.parquet").click()
    assert download.value.path().stat().st_size == 1_400_000
