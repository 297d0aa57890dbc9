"""What a stranger sees does not tell whether there is an account with an address, or how it stands.

Time is not measured here. What takes time is counted: the password is hashed as often, the database is asked as often,
and as many mails are left for later, which nobody waits for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.permissions import OrganizationRole
from accounts.services_signup import sign_up
from portal.models import OutgoingMail
from tests.accounts.conftest import new_browser
from tests.accounts.steps import FORM
from tests.factories import add_to_organization, make_connection, make_organization, make_user, stay_away
from tests.sso.world import move

pytestmark = pytest.mark.django_db
DOMAIN = "acme.example"


@dataclass(frozen=True)
class Seen:
    """All that an answer is, and what was done for it."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    text: str
    page_after: str
    hashes: int
    queries: int
    mails: int


def make_state(state: str, email: str) -> None:
    """Somebody with that address, as the state says."""
    if state == "unknown":
        return
    if state == "signed up":
        sign_up(
            address=None,
            email=email,
            password=FORM["password1"],
            first_name="A",
            last_name="B",
            organization_name=f"Organization of {email}",
        )
        return
    user = move(make_user(), email)
    if state != "alone":
        add_to_organization(make_organization(name=f"Place of {email}"), user, OrganizationRole.MEMBER)
    match state:
        case "in three organizations":
            for number in range(2):
                add_to_organization(make_organization(name=f"Place {number} of {email}"), user, OrganizationRole.MEMBER)
        case "locked":
            User.objects.filter(pk=stay_away(user, days=120).pk).update(locked_at=timezone.now())
        case "inactive":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "without password":
            user.set_unusable_password()
            user.save()


STATES = ("alone", "member", "in three organizations", "signed up", "locked", "inactive", "without password")


def seen(monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client, str], Any], email: str) -> Seen:
    """Ask, and look at everything."""
    hashed = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    cache.clear()
    browser = new_browser()
    mails = OutgoingMail.objects.count()
    with monkeypatch.context() as patch, CaptureQueriesContext(connection) as queries:
        patch.setattr(MD5PasswordHasher, "encode", counted)
        response = ask(browser, email)
        asked = len(queries)  # now: the next request forgets them
    after = browser.get(response["Location"]).content.decode() if response.status_code == 302 else ""
    return Seen(
        response.status_code,
        {name: value for name, value in response.headers.items() if name not in {"Content-Length", "Expires"}},
        sorted(response.cookies),
        anonymous(response.content.decode(), email),
        anonymous(after, email),
        len(hashed),
        asked,
        OutgoingMail.objects.count() - mails,
    )


def anonymous(text: str, email: str) -> str:
    """Without what was typed, and the token of the form."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"|"X-CSRFToken": "\w+"', "", text).replace(email, "EMAIL")


def sign_in(browser: Client, email: str) -> Any:
    return browser.post("/accounts/login/", {"login": email, "password": "not the password"})


def reset(browser: Client, email: str) -> Any:
    return browser.post("/accounts/password/reset/", {"email": email})


def sign_up_again(browser: Client, email: str) -> Any:
    return browser.post("/accounts/signup/", {**FORM, "email": email, "organization": "A name that is free"})


def send_again(browser: Client, email: str) -> Any:
    return browser.post("/activate/", {"email": email})


def single_sign_on(browser: Client, email: str) -> Any:
    return browser.post("/sso/", {"email": email})


WAYS = [sign_in, reset, sign_up_again, send_again, single_sign_on]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", WAYS)
def test_an_address_is_not_told_from_an_unknown_one(
    way: Callable[[Client, str], Any], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_state(state, f"known@{DOMAIN}")
    known, unknown = (seen(monkeypatch, way, f"{name}@{DOMAIN}") for name in ("known", "nobdy"))
    assert known == unknown


@pytest.mark.parametrize("state", STATES)
def test_nor_where_single_sign_on_is_demanded(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_state(state, f"known@{DOMAIN}")
    make_connection(make_organization(name="Acme"), DOMAIN, enabled=True, enforced=True)
    for way in WAYS[:4]:
        known, unknown = (seen(monkeypatch, way, f"{name}@{DOMAIN}") for name in ("known", "nobdy"))
        assert known == unknown, way


def test_the_hasher_is_the_slow_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a password is given it is hashed once, whoever it is for, and elsewhere never."""
    assert [seen(monkeypatch, way, f"nobody@{DOMAIN}").hashes for way in WAYS] == [1, 0, 1, 0, 0]
    assert settings.PASSWORD_HASHERS == ["django.contrib.auth.hashers.MD5PasswordHasher"]
