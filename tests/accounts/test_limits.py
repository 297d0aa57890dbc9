"""Too many tries get a page that says how long to wait; the answer does not depend on whom they are about."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from tests.accounts.conftest import new_browser
from tests.accounts.steps import address, sign_up
from tests.factories import make_user
from tests.mailbox import delivered

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_tries_before() -> None:
    cache.clear()


def is_told_to_wait(response: object, at_most: int) -> bool:
    assert response.status_code == 429  # type: ignore[attr-defined]
    seconds = int(response["Retry-After"])  # type: ignore[index]
    text = response.content.decode()  # type: ignore[attr-defined]
    assert "TooManyRequests" in text
    assert "portal.css" in text
    return at_most - 20 <= seconds <= at_most and "Wait " in text


def test_one_address_gets_few_mails_an_hour_whoever_asks() -> None:
    known = make_user("known").email
    for email in (known, "nobody@example.org"):
        for number in range(6):
            browser = new_browser()
            if number % 2:
                assert sign_up(browser, email=email).status_code == 302
            else:
                assert browser.post("/activate/", {"email": email.upper()}).status_code == 302
        assert is_told_to_wait(sign_up(new_browser(), email=email), 3600)
        assert is_told_to_wait(new_browser().post("/activate/", {"email": email}), 3600)
    assert len(delivered()) == 12


def test_one_browser_cannot_sign_up_for_everybody(browser: Client) -> None:
    for number in range(20):
        assert sign_up(browser, email=f"person-{number}@example.org").status_code == 302
    assert is_told_to_wait(sign_up(browser, email="one-more@example.org"), 60)
    assert sign_up(new_browser()).status_code == 302


@pytest.mark.parametrize("field", ["organization", "email"])
def test_wrong_forms_count_too(browser: Client, field: str) -> None:
    for _ in range(20):
        assert sign_up(browser, **{field: ""}).status_code == 200
    assert is_told_to_wait(sign_up(browser), 60)
    assert browser.get("/accounts/signup/").status_code == 200  # looking is free


def test_password_resets_are_limited_by_person(browser: Client) -> None:
    for _ in range(5):
        assert new_browser().post("/accounts/password/reset/", {"email": address(browser)}).status_code == 302
    assert is_told_to_wait(browser.post("/accounts/password/reset/", {"email": address(browser).upper()}), 60)
    assert len(delivered()) == 5


def test_sign_in_is_limited_by_browser(browser: Client) -> None:
    for number in range(30):
        form = {"login": f"somebody-{number}@example.org", "password": "guess"}
        assert browser.post("/accounts/login/", form).status_code == 200
    assert is_told_to_wait(browser.post("/accounts/login/", {"login": "a@example.org", "password": "guess"}), 60)
