"""Whoever signs in has accepted the terms of today, whichever way they come."""

from __future__ import annotations

import pytest
from allauth.account.models import Login
from django.test import Client
from pytest_django import Settings

from accounts.models import AuditEvent
from accounts.terms import TermsStage
from tests.accounts.conftest import new_browser
from tests.accounts.steps import activate, address, sign_in, sign_up
from tests.factories import PASSWORD, make_organization, make_user

pytestmark = pytest.mark.django_db
NEW = "2027-01-01"


def test_sign_up_notes_version_and_time(browser: Client, settings: Settings) -> None:
    settings.PORTAL_TERMS_VERSION = NEW
    sign_up(browser)
    activate(browser)
    assert sign_in(browser, address(browser))["Location"] == "/"


def test_new_terms_are_asked_for_at_the_next_sign_in(browser: Client, settings: Settings) -> None:
    user = make_user()
    organization = make_organization(user)
    before = user.terms_version
    settings.PORTAL_TERMS_VERSION = NEW
    where = f"/o/{organization.pk}/people/"
    assert sign_in(browser, user.email, PASSWORD, f"?next={where}")["Location"] == "/terms/"
    assert "_auth_user_id" not in browser.session
    assert browser.get(where).status_code == 302
    page = browser.get("/terms/").content.decode()
    assert f"Version {NEW}" in page
    assert "Accept the terms to go on" in page

    assert browser.post("/terms/", {}).status_code == 422
    assert "_auth_user_id" not in browser.session
    assert browser.post("/terms/", {"accept_terms": "on"})["Location"] == where
    assert browser.get(where).status_code == 200
    user.refresh_from_db()
    assert user.terms_version == NEW
    assert user.terms_accepted_at
    event = AuditEvent.objects.get(verb="user.accept_terms")
    assert (event.actor_user, event.organization) == (user, organization)
    assert event.detail["before"] == {"terms": before}
    assert event.detail["after"] == {"terms": NEW}

    browser.post("/accounts/logout/")
    assert sign_in(browser, user.email, PASSWORD)["Location"] == "/"  # once is enough


def test_opening_the_sign_in_page_in_between_leads_back_to_the_terms(browser: Client, settings: Settings) -> None:
    user = make_user()
    settings.PORTAL_TERMS_VERSION = NEW
    sign_in(browser, user.email, PASSWORD)
    assert browser.get("/accounts/login/")["Location"] == "/terms/"


def test_who_does_not_accept_is_not_signed_in(browser: Client, settings: Settings) -> None:
    user = make_user()
    settings.PORTAL_TERMS_VERSION = NEW
    sign_in(browser, user.email, PASSWORD)
    browser.post("/accounts/logout/")  # the button Cancel
    assert browser.get("/accounts/login/").status_code == 200
    assert browser.post("/terms/", {"accept_terms": "on"})["Location"] == "/accounts/login/"
    user.refresh_from_db()
    assert user.terms_version != NEW


def test_nobody_accepts_for_somebody_else(browser: Client, settings: Settings) -> None:
    user = make_user()
    settings.PORTAL_TERMS_VERSION = NEW
    sign_in(browser, user.email, PASSWORD)
    assert new_browser().post("/terms/", {"accept_terms": "on"})["Location"] == "/accounts/login/"
    user.refresh_from_db()
    assert user.terms_version != NEW


def test_a_remembered_session_may_accept_before_it_has_to(browser: Client, settings: Settings) -> None:
    user = make_user()
    browser.force_login(user)
    settings.PORTAL_TERMS_VERSION = NEW
    assert "The terms have changed" in browser.get("/terms/").content.decode()
    assert browser.post("/terms/", {"accept_terms": "on"})["Location"] == "/"
    assert AuditEvent.objects.get().verb == "user.accept_terms"
    assert "you accepted it on" in browser.get("/terms/").content.decode()
    browser.post("/terms/", {"accept_terms": "on"})
    assert AuditEvent.objects.count() == 1


def test_terms_of_the_operator_are_linked(browser: Client, settings: Settings) -> None:
    settings.PORTAL_TERMS_URL = "https://example.org/terms"
    for page in ("/accounts/signup/", "/terms/"):
        assert 'href="https://example.org/terms"' in browser.get(page).content.decode()
    assert "What we charge" not in browser.get("/terms/").content.decode()


def test_every_way_of_signing_in_passes_the_terms_last() -> None:
    """Passwords, passkeys and single sign-on all go through these stages."""
    from allauth.account.adapter import get_adapter

    assert get_adapter().get_login_stages()[-1] == "accounts.terms.TermsStage"
    stage = TermsStage(None, None, Login(user=None))
    assert stage.handle() == (None, True)  # a sign-in that only pretends, so as not to tell
