"""Passkeys with a device that Chromium plays, authenticator apps, and sessions that end."""

from __future__ import annotations

import re
import time

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import Stage, Tenant
from tests.browser.steps import press
from tests.factories import PASSWORD

pytestmark = pytest.mark.browser


def add_device(page: Page, **options: object) -> None:
    """A device with a fingerprint reader that likes everybody."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
                **options,
            }
        },
    )


def sign_in(page: Page, tenant: Tenant) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(tenant.email)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")


def sign_out(page: Page) -> None:
    page.goto("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()


def confirm(page: Page) -> None:
    """Give the password again where a page asks for it."""
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Go on")


def code(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def test_a_passkey_from_first_to_last(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    page = watched.page(base_url=stage.named)
    add_device(page)
    sign_in(page, tenant)
    page.get_by_label("Your account").click()
    page.get_by_role("link", name="Sign-in and security").click()
    page.get_by_role("link", name="Add passkey").click()
    confirm(page)
    page.get_by_label("Name").fill("The fingerprint reader")
    press(page, "Add passkey")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.get_by_role("link", name="Sign-in and security").first.click()
    expect(page.get_by_role("row", name="The fingerprint reader")).to_contain_text("alone")

    sign_out(page)
    page.goto("/accounts/login/")
    press(page, "Sign in with a passkey")
    page.wait_for_url("**/workspaces/")

    sign_out(page)  # and after the password
    sign_in(page, tenant)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    press(page, "Use your passkey")
    page.wait_for_url("**/workspaces/")

    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Remove The fingerprint reader").click()
    confirm(page)
    press(page, "Remove")
    expect(page.get_by_text("No passkey yet")).to_be_visible()


def test_what_went_wrong_is_said_on_the_page(watched: Watched, stage: Stage) -> None:
    page = watched.page(base_url=stage.named)
    page.goto("/accounts/login/")
    add_device(page, isUserVerified=False)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "It was cancelled, took too long, or this device holds no passkey"
    )

    at_a_number = watched.page()
    at_a_number.goto("/accounts/login/")
    expect(at_a_number.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)
    at_a_number.get_by_role("link", name="under its name").click()
    at_a_number.wait_for_url(f"{stage.named}/accounts/login/")
    expect(at_a_number.get_by_role("button", name="Sign in with a passkey")).to_be_visible()


def test_an_app_and_a_recovery_code(watched: Watched, stage: Stage, tenant: Tenant) -> None:
    page = watched.page()
    sign_in(page, tenant)
    page.goto("/accounts/2fa/totp/activate/")
    confirm(page)
    secret = page.get_by_label("Or type the secret").input_value()
    page.get_by_label("Authenticator code").fill("000000")
    press(page, "Activate")
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    assert page.get_by_label("Or type the secret").input_value() == secret
    page.get_by_label("Authenticator code").fill(code(secret))
    press(page, "Activate")
    codes = re.findall(r"\d{8}", page.locator("#recovery-codes").inner_text())
    assert len(codes) == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert codes[0] in download.value.path().read_text()

    for given, works in ((code(secret), True), (codes[4], True), (codes[4], False), (codes[5], True)):
        other = watched.page()
        sign_in(other, tenant)
        other.get_by_label("Code").fill(given)
        press(other, "Sign in")
        if works:
            other.wait_for_url("**/workspaces/")
        else:
            expect(other.get_by_text("Incorrect code")).to_be_visible()
    assert "authenticator app was set up" in stage.mail_to(tenant.email)


def test_signing_out_another_browser_ends_its_open_page(watched: Watched, tenant: Tenant) -> None:
    here, there = watched.page(), watched.page()
    for page in (here, there):
        sign_in(page, tenant)
    there.goto(f"/o/{tenant.organization}/workspaces/")
    here.goto("/accounts/sessions/")
    expect(here.get_by_text("this one")).to_have_count(1)
    with there.expect_event("requestfinished", lambda request: request.url.endswith("/events/"), timeout=8000):
        here.get_by_role("button", name=re.compile("^Sign out Chrome")).first.click()
        here.get_by_role("dialog").get_by_role("button", name="Sign out", exact=True).click()
        expect(here.get_by_text("That browser is signed out.")).to_be_visible()
    there.reload()
    expect(there.get_by_role("heading", name="Sign in")).to_be_visible()
