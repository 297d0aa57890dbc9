"""Whoever signs in has accepted the terms of today, whichever way they come."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from allauth.account.models import Login
from asgiref.sync import async_to_sync
from django.test import Client, RequestFactory
from pytest_django import Settings

from accounts import sessions
from accounts.access import enter
from accounts.models import AuditEvent, User
from accounts.terms import TermsStage
from tests.accounts.conftest import new_browser
from tests.accounts.steps import activate, address, sign_in, sign_up
from tests.factories import PASSWORD, make_organization, make_user, make_workspace
from workspaces.access import may_upload

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


def test_a_remembered_session_meets_them_at_the_next_page(browser: Client, settings: Settings) -> None:
    user = make_user()
    where = f"/o/{make_organization(user).pk}/people/?q=x"
    browser.force_login(user)
    assert browser.get(where).status_code == 200
    settings.PORTAL_TERMS_VERSION = NEW
    for page in (where, "/accounts/2fa/", "/organizations/new/", "/accounts/password/change/"):
        assert browser.get(page)["Location"] == f"/terms/?{urlencode({'next': page})}"
    terms = browser.get(browser.get(where)["Location"]).content.decode()
    assert "The terms have changed" in terms
    assert f'name="next" value="{where}"' in terms
    assert "Sign out" in terms
    assert browser.post("/terms/", {"accept_terms": "on", "next": where})["Location"] == where
    assert browser.get(where).status_code == 200
    assert AuditEvent.objects.get().verb == "user.accept_terms"
    assert "you accepted it on" in browser.get("/terms/").content.decode()
    browser.post("/terms/", {"accept_terms": "on"})
    assert AuditEvent.objects.count() == 1


def test_what_is_sent_meanwhile_is_not_done(browser: Client, settings: Settings) -> None:
    user = make_user()
    organization = make_organization(user, "Acme")
    browser.force_login(user)
    settings.PORTAL_TERMS_VERSION = NEW
    where = f"/o/{organization.pk}/settings/"
    response = browser.post(f"{where}name/", {"name": "Other"}, headers={"referer": f"http://testserver{where}"})
    assert response["Location"] == f"/terms/?{urlencode({'next': where})}"
    assert "What you last sent was not done" in browser.get(response["Location"]).content.decode()
    organization.refresh_from_db()
    assert (organization.name, AuditEvent.objects.count()) == ("Acme", 0)
    lost = browser.post(f"{where}name/", {"name": "Other"}, headers={"referer": "http://[nonsense"})
    assert lost["Location"] == "/terms/?next="
    part = browser.get(f"/o/{organization.pk}/people/", headers={"hx-request": "true"})
    assert (part["HX-Refresh"], part.content) == ("true", b"")


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:x"])
def test_the_page_leads_nowhere_else(browser: Client, settings: Settings, target: str) -> None:
    browser.force_login(make_user())
    settings.PORTAL_TERMS_VERSION = NEW
    assert "evil" not in browser.get("/terms/", {"next": target}).content.decode()
    assert browser.post("/terms/", {"accept_terms": "on", "next": target})["Location"] == "/"


def test_the_way_out_and_public_pages_stay_open(browser: Client, settings: Settings) -> None:
    browser.force_login(make_user())
    settings.PORTAL_TERMS_VERSION = NEW
    assert browser.get("/accounts/logout/").status_code == 200
    assert browser.get("/activate/").status_code == 200
    browser.post("/accounts/logout/")
    assert "_auth_user_id" not in browser.session


def test_open_streams_and_uploads_stop(browser: Client, settings: Settings) -> None:
    user = make_user()
    organization = make_organization(user)
    workspace = make_workspace(organization)
    browser.force_login(user)
    request = RequestFactory().get("/")
    request.session, request.user = browser.session, user
    stream = async_to_sync(sessions.still(request, lambda again: enter(again, organization.pk)))
    assert stream()
    assert may_upload(request, str(workspace.pk))
    settings.PORTAL_TERMS_VERSION = NEW
    assert not stream()
    assert not may_upload(request, str(workspace.pk))


def test_staff_accepts_for_nobody_else_and_for_themselves_when_they_stop(browser: Client, settings: Settings) -> None:
    root, person = make_user("root", is_staff=True, is_superuser=True), make_user("bob")
    organization = make_organization(person)
    browser.force_login(root)
    browser.post(f"/admin/accounts/user/{person.pk}/task/act-as/", {"text": "Ticket 1"})
    User.objects.filter(pk=person.pk).update(terms_version="2020-01-01")
    where = f"/o/{organization.pk}/people/"
    assert browser.get(where).status_code == 200
    assert browser.post("/terms/", {"accept_terms": "on"}).status_code == 403
    settings.PORTAL_TERMS_VERSION = NEW
    assert browser.get(where).status_code == 200
    browser.post("/acting/stop/")
    assert browser.get("/admin/")["Location"].startswith("/terms/")
    person.refresh_from_db()
    assert person.terms_version == "2020-01-01"


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
