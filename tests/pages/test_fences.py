"""What stands around every answer: headers, cookies, CSRF, pages for errors, and no script or style in a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker, Settings

from tests.factories import PASSWORD
from tests.pages.routes import ROUTES, filled
from tests.pages.test_access import address
from tests.pages.world import Tenants
from tests.test_architecture import INLINE

FENCES = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ALLAUTH = ("login", "signup", "password/reset", "password/reset/done", "confirm-email", "inactive", "logout", "email")
SIGNED_IN = ("password/change", "2fa", "2fa/totp/activate", "sessions", "reauthenticate", "logout", "email")


def fenced(response: Any) -> bool:
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "publickey-credentials-get=(self)" in response["Permissions-Policy"]
    assert "camera=()" in response["Permissions-Policy"]
    for name, value in FENCES.items():
        assert response[name] == value, name
    assert "no-store" in response["Cache-Control"] or "no-cache" in response["Cache-Control"]
    return True


def test_each_page_is_fenced_and_holds_no_inline_script_or_style(tenants: Tenants) -> None:
    client, ids = tenants.client("owner"), tenants.ids()
    for name in [name for name, route in ROUTES.items() if route.get]:
        response = client.get(address(name, ids))
        assert fenced(response), name
        if "text/html" in response["Content-Type"] and response.status_code == 200:
            assert INLINE.findall(response.content.decode()) == [], name


@pytest.mark.parametrize("page", ALLAUTH)
def test_pages_of_sign_in_are_ours_too(db: None, page: str) -> None:
    response = Client().get(f"/accounts/{page}/", follow=True)
    assert response.status_code == 200
    assert fenced(response)
    text = response.content.decode()
    assert INLINE.findall(text) == []
    assert "portal.css" in text


@pytest.mark.parametrize("page", SIGNED_IN)
def test_pages_of_one_s_account_are_ours_too(tenants: Tenants, page: str) -> None:
    client = tenants.client("owner")
    client.post("/accounts/login/", {"login": tenants.people["owner"].email, "password": PASSWORD})
    response = client.get(f"/accounts/{page}/", follow=True)
    assert response.status_code == 200
    assert fenced(response)
    text = response.content.decode()
    assert INLINE.findall(text) == []
    assert "portal.css" in text


def test_errors_are_fenced(tenants: Tenants) -> None:
    owner, viewer = tenants.client("owner"), tenants.client("viewer")
    for response in (
        owner.get("/nowhere/"),
        viewer.get(address("clusters:new", tenants.ids())),
        owner.delete("/"),
        owner.post(address("clusters:scale", tenants.ids()), {"instances": "x"}),
        Client(enforce_csrf_checks=True).post("/accounts/login/", {}),
        Client().get(address("workspaces:list", tenants.ids())),
        owner.get("/", headers={"host": "evil.example"}),
    ):
        assert response.status_code >= 302
        assert fenced(response)


def test_a_crash_is_a_page_that_says_nothing_of_the_inside(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ValueError("a secret from the inside")

    monkeypatch.setattr("accounts.views_people.organization_matrix", crash)
    client = tenants.client("owner", raise_request_exception=False)
    response = client.get(address("accounts:people_roles", tenants.ids()))
    assert response.status_code == 500
    assert fenced(response)
    text = response.content.decode()
    assert "InternalError" in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_pages_for_errors_need_no_database(django_db_blocker: DjangoDbBlocker) -> None:
    """No fixture gives this test a database; the blocker raises on any use."""
    client = Client(raise_request_exception=False)
    assert client.get("/nowhere/").status_code == 404
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert Client(enforce_csrf_checks=True).post("/nowhere/", {}).status_code in {403, 404}


@pytest.mark.parametrize("where", ["view", "middleware"])
def test_a_lost_database_is_503_wherever_it_is_noticed(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def lost(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    if where == "view":
        monkeypatch.setattr("portal.views.connection", type("Lost", (), {"cursor": lost}))
    else:
        monkeypatch.setattr("django_htmx.middleware.HtmxDetails", lost)
    response = Client(raise_request_exception=False).get("/healthz")
    assert response.status_code == 503
    assert b"DatabaseUnavailable" in response.content
    assert b"connection refused" not in response.content


def test_every_write_needs_a_csrf_token(tenants: Tenants) -> None:
    client = tenants.client("owner", enforce_csrf_checks=True)
    for name, route in ROUTES.items():
        if route.form is not None and not route.from_elsewhere:
            response = client.post(address(name, tenants.ids()), filled(route.form, tenants.ids()))
            assert response.status_code == 403, name
            assert b"FormExpired" in response.content
    for page in ("login", "signup", "logout", "password/reset", "password/change"):
        assert client.post(f"/accounts/{page}/", {}).status_code == 403


def test_the_token_of_the_page_is_taken_from_form_and_header(tenants: Tenants) -> None:
    client = tenants.client("owner", enforce_csrf_checks=True)
    page = client.get(address("workspaces:settings", tenants.ids()))
    token = str(page.context["csrf_token"])
    where = address("workspaces:settings", tenants.ids())
    assert client.post(where, {"name": "One", "csrfmiddlewaretoken": token}).status_code == 302
    assert client.post(where, {"name": "Two"}, headers={"x-csrftoken": token}).status_code == 302
    assert client.post(where, {"name": "Three", "csrfmiddlewaretoken": token[::-1]}).status_code == 403


def test_cookies_are_kept_from_scripts_and_other_sites(tenants: Tenants, settings: Settings) -> None:
    client = Client()
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"login": tenants.people["owner"].email, "password": PASSWORD})
    for name in ("sessionid", "csrftoken"):
        cookie = client.cookies[name]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
    assert settings.SESSION_COOKIE_SECURE == settings.CSRF_COOKIE_SECURE == settings.SECURE
    before = client.cookies["sessionid"].value
    client.post("/accounts/logout/")
    client.post("/accounts/login/", {"login": tenants.people["owner"].email, "password": PASSWORD})
    assert client.cookies["sessionid"].value != before


def test_the_admin_has_no_sign_in_of_its_own(tenants: Tenants) -> None:
    """It would know neither limits nor second factors."""
    response = Client().get("/admin/login/?next=/admin/")
    assert response["Location"].startswith("/accounts/login/")
    assert tenants.client("owner").get("/admin/").status_code in {302, 403}
    assert tenants.client("owner").get(reverse("admin:accounts_user_changelist"), follow=True).status_code == 403
