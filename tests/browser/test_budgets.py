"""A budget from its form to the launch that it refuses."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Tenant

pytestmark = pytest.mark.browser


def test_a_budget_refuses_a_launch_and_says_why(page: Page, tenant: Tenant) -> None:
    page.goto(f"/o/{tenant.organization}/billing/")
    page.get_by_role("link", name="Budgets").click()
    expect(page.get_by_role("heading", name="No budgets yet")).to_be_visible()
    page.get_by_role("link", name="Create budget").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Limit in USD").fill("0.10")
    drawer.get_by_role("button", name="Create budget").click()
    expect(page.get_by_text("Nothing runs that this budget pays for.")).to_be_visible()

    page.goto(f"/w/{tenant.workspace}/clusters/")
    page.get_by_role("link", name="Create cluster").click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("has 0.1000 of 0.1000 USD left")).to_be_visible()
    drawer.get_by_label("Cluster name").fill("engine")
    drawer.get_by_role("button", name="Create cluster").click()
    expect(drawer.get_by_role("alert")).to_contain_text("has no room for this")
    expect(drawer.get_by_label("Cluster name")).to_have_value("engine")
