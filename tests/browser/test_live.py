"""The event stream is a convenience: without it, pages are seconds late and never wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press, status, stays_loaded

pytestmark = pytest.mark.browser


def test_without_a_stream_a_page_asks_by_itself(page: Page, watched: Watched, make_cluster: Callable[..., str]) -> None:
    watched.expected.append("ERR_FAILED")
    page.route("**/events/", lambda route: route.abort())
    page.goto(make_cluster())
    with stays_loaded(page):
        expect(status(page)).to_have_text("RUNNING")
    press(page, "Pause")
    with stays_loaded(page):
        expect(status(page)).to_have_text("PAUSED")


def test_an_emptied_queue_costs_seconds(page: Page, stage: Stage, make_cluster: Callable[..., str]) -> None:
    with stage.queue() as queue:
        page.goto(make_cluster())
        queue.flushall()
        with stays_loaded(page):
            expect(status(page)).to_have_text("RUNNING")
        press(page, "Pause")
        queue.flushall()
        with stays_loaded(page):
            expect(status(page)).to_have_text("PAUSED")


def test_a_queue_that_dies_comes_back_and_the_page_with_it(
    page: Page, watched: Watched, stage: Stage, tenant: Tenant, make_cluster: Callable[..., str]
) -> None:
    watched.expected += ["ERR_INCOMPLETE_CHUNKED_ENCODING", "/events/"]
    address = make_cluster()
    page.goto(address)
    expect(status(page)).to_have_text("RUNNING")
    with stays_loaded(page):
        with page.expect_response(re.compile("/events/"), timeout=30_000):
            stage.child("valkey").kill()
        stage.post(tenant, f"{address}pause/", {})  # by a colleague: the page hears of it by the new stream
        expect(status(page)).to_have_text("PAUSED", timeout=30_000)
        expect(page.get_by_text("Connection lost")).to_be_hidden()
