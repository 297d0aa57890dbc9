"""Secrets and catalogs in the drawer: what was typed survives a refusal, though the portal never sends it back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant

pytestmark = pytest.mark.browser

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"


def test_a_secret_is_added_and_changed(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    watched.expected.append("status of 422")
    page = watched.page(tenant.session)
    page.goto(f"{stage.address}/w/{tenant.workspace}/secrets/")
    drawer = page.get_by_role("dialog")
    page.get_by_role("link", name="Create group").click()
    drawer.get_by_label("Name").fill("warehouse")
    drawer.get_by_role("button", name="Create group").click()
    page.get_by_role("link", name="Add secret to warehouse").click()
    drawer.get_by_label("Name").fill("database")
    keys, values = drawer.get_by_label("Key", exact=True), drawer.get_by_label("Value", exact=True)
    for number in range(4):
        if number == 3:
            drawer.get_by_role("button", name="Add key").click()
            expect(keys.nth(3)).to_be_focused()
        keys.nth(number).fill(f"KEY_{number}" if number else "LD_PRELOAD")
        values.nth(number).fill(KEY if number == 3 else f"value {number}")
    drawer.get_by_role("button", name="Add secret").click()
    expect(drawer.get_by_text("LD_PRELOAD is reserved")).to_be_visible()
    assert [values.nth(number).input_value() for number in range(4)] == ["value 0", "value 1", "value 2", KEY]
    keys.nth(0).fill("KEY_0")
    drawer.get_by_role("button", name="Add secret").click()
    expect(page.get_by_text("Its values cannot be seen any more")).to_be_visible()
    page.get_by_role("link", name="Edit database").click()
    assert [values.nth(number).input_value() for number in range(5)] == [""] * 5
    drawer.get_by_label("Remove KEY_1").check()
    values.nth(0).fill("other")
    drawer.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name="database")
    expect(row).not_to_contain_text("KEY_1")
    for number in (0, 2, 3):
        expect(row).to_contain_text(f"KEY_{number}")


def test_a_catalog_is_tried_and_made(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    (tenant.files / "lake").mkdir()
    (tenant.files / "lake" / "orders.parquet").write_bytes(b"x" * 2000)
    page = watched.page(tenant.session)
    page.goto(f"{stage.address}/w/{tenant.workspace}/catalogs/")
    drawer = page.get_by_role("dialog")
    page.get_by_role("link", name="Create catalog").click()
    drawer.get_by_role("link", name="Workspace files").click()
    drawer.get_by_label("Name").fill("lake")
    drawer.get_by_label("Folder").fill("lakes")
    drawer.get_by_role("button", name="Test connection").click()
    expect(drawer.get_by_text("lakes does not exist")).to_be_visible()
    drawer.get_by_label("Folder").fill("lake")
    drawer.get_by_role("button", name="Test connection").click()
    expect(drawer.get_by_text("1 found: orders.")).to_be_visible()
    drawer.get_by_role("button", name="Create catalog").click()
    expect(page.get_by_role("heading", name="lake")).to_be_visible()
    expect(page.get_by_role("row", name="orders")).to_contain_text("2.0")
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("Tested just now")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete catalog").click()
    expect(page.get_by_role("heading", name="No catalogs yet")).to_be_visible()


def test_a_password_survives_a_refusal(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    watched.expected.append("status of 422")
    page = watched.page(tenant.session)
    page.goto(f"{stage.address}/w/{tenant.workspace}/catalogs/")
    drawer = page.get_by_role("dialog")
    page.get_by_role("link", name="Create catalog").click()
    drawer.get_by_role("link", name="Snowflake").click()
    for label, text in {"Name": "sales", "User": "me", "Password": "pa55", "Warehouse": "w", "Database": "d"}.items():
        drawer.get_by_label(label, exact=True).fill(text)
    drawer.get_by_label("Account identifier").fill("not an account")
    drawer.get_by_role("button", name="Test connection").click()
    expect(drawer.get_by_text("Enter the account identifier only")).to_be_visible()
    expect(drawer.get_by_label("Password")).to_have_value("pa55")
