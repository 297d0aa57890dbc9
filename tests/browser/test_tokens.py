"""API tokens, from the first to the last press of a button."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Tenant
from tests.browser.steps import press, stays_loaded

pytestmark = pytest.mark.browser
SECRET = re.compile(r"^bodo_secret_[0-9a-f]{64}$")


@pytest.mark.parametrize("place", ["/o/{organization}/settings/", "/w/{workspace}/settings/"])
def test_make_copy_and_revoke_a_token(page: Page, tenant: Tenant, place: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(place.format(organization=tenant.organization, workspace=tenant.workspace))
    page.get_by_role("link", name="API tokens").click()
    expect(page.get_by_text("Programs sign in with a token")).to_be_visible()
    with stays_loaded(page):
        page.get_by_role("link", name="Create token").click()
        drawer = page.get_by_role("dialog")
        drawer.get_by_label("Name").fill("Airflow")
        drawer.get_by_role("button", name="Create token").click()
        expect(drawer.get_by_label("Secret", exact=True)).to_have_value(SECRET)
        drawer.get_by_role("button", name="Copy the secret").click()
        expect(drawer.get_by_text("Copied")).to_be_visible()
        secret = drawer.get_by_label("Secret", exact=True).input_value()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        client_id = drawer.get_by_label("Client id", exact=True).input_value()
        drawer.get_by_role("link", name="Done").click()
        row = page.get_by_role("row", name="Airflow")
        expect(row).to_contain_text(client_id)
        expect(row).to_contain_text("ACTIVE")
    page.reload()
    assert secret not in page.content()
    press(page, "Revoke Airflow", answer="Revoke token")
    expect(page.get_by_role("row", name="Airflow")).to_contain_text("REVOKED")
    expect(page.get_by_role("button", name="Revoke Airflow")).to_have_count(0)


def test_without_scripts_the_secret_can_be_selected_and_a_reload_makes_no_second_token(
    watched: Watched, tenant: Tenant
) -> None:
    page = watched.page(tenant.session, java_script_enabled=False)
    page.goto(f"/o/{tenant.organization}/settings/tokens/")
    page.get_by_role("link", name="Create token").click()
    page.get_by_role("button", name="Create token").click()  # the browser asks for the name
    page.get_by_label("Name").fill("plain")
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_label("Secret", exact=True)).to_have_value(SECRET)
    expect(page.get_by_role("button", name="Copy the secret")).to_be_hidden()
    page.reload()  # which sends the form again
    expect(page.get_by_text("Its secret was shown once")).to_be_visible()
    expect(page.get_by_role("row", name="plain")).to_have_count(1)
