"""An organization whose people sign in through the provider, and what a browser does on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from allauth.account.models import EmailAddress
from django.test import Client

from accounts import sso
from accounts.models import Organization, SsoConnection, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_connection, make_organization, make_user

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "a password of the provider"


@dataclass
class Provider:
    """The running provider, as seen from outside."""

    address: str

    @property
    def issuer(self) -> str:
        """As it names itself."""
        return f"{self.address}/o"

    def control(self, what: str, **given: Any) -> dict[str, Any]:
        """Be its administrator."""
        answer = httpx.post(f"{self.address}/control/{what}/", json=given)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def person(self, email: str, first: str = "Ada", last: str = "Lovelace") -> str:
        """Somebody who can sign in there; returns the subject by which the provider means them."""
        given = {"username": email, "email": email, "password": PASSWORD, "first_name": first, "last_name": last}
        return str(self.control("person", **given)["subject"])

    def lie(self, userinfo: dict[str, Any] | None = None, **claims: Any) -> None:
        """Say this of everybody in ID tokens; None leaves a claim out. Without arguments: tell the truth again."""
        self.control("faults", claims=claims, userinfo=userinfo or {})


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Start one, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="portal-idp-") as directory:
        command = [sys.executable, "-m", "tests.sso.provider", "0", directory]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, "the provider did not start"
            yield Provider(f"http://127.0.0.1:{json.loads(line)['port']}")
        finally:
            process.terminate()
            process.wait(10)


@dataclass
class Acme:
    """An organization with single sign-on switched on for ``acme.example``."""

    provider: Provider
    owner: User
    organization: Organization
    connection: SsoConnection
    browsers: list[Client] = field(default_factory=list)

    def change(self, **fields: Any) -> None:
        """Of the connection, as if somebody had saved it."""
        SsoConnection.objects.filter(pk=self.connection.pk).update(**fields)
        self.connection.refresh_from_db()


def make_acme(provider: Provider, domain: str = "acme.example", name: str = "Acme") -> Acme:
    """All of it."""
    owner = make_user("owner")
    organization = make_organization(owner, name)
    registered = provider.control("client", redirect_uri=sso.redirect_uri(organization))
    connection = make_connection(
        organization, domain, issuer=provider.issuer, client_id=registered["client_id"], enabled=True
    )
    connection.client_secret = registered["client_secret"]
    connection.save()
    return Acme(provider, owner, organization, connection)


def make_member(acme: Acme, name: str, role: OrganizationRole = OrganizationRole.MEMBER) -> User:
    """A member with an address in Acme's domain, who is known to the provider as well, and has a password here."""
    user = move(make_user(name), f"{name}@acme.example")
    add_to_organization(acme.organization, user, role)
    acme.provider.person(user.email)
    return user


def move(user: User, email: str) -> User:
    """To another address."""
    User.objects.filter(pk=user.pk).update(email=email)
    EmailAddress.objects.filter(user=user).update(email=email)
    user.refresh_from_db()
    return user


def user_of(browser: Client) -> User | None:
    """Who is signed in."""
    key = browser.session.get("_auth_user_id")
    return User.objects.get(pk=key) if key else None


def finish(browser: Client, response: Any) -> Any:
    """Newcomers accept the terms on their way."""
    if response["Location"] == "/terms/":
        response = browser.post("/terms/", {"accept_terms": "on"})
    return response


def begin(browser: Client, email: str, **form: str) -> str:
    """Ask the portal for single sign-on; where it sends the browser."""
    response = browser.post("/sso/", {"email": email, **form})
    assert response.status_code == 200, response.content.decode()
    return str(response.context["url"])


def sign_in_there(url: str, username: str, password: str = PASSWORD) -> str:
    """Be the browser at the provider, from where the portal sent it; the path by which it comes back."""
    with httpx.Client() as web:
        response = web.get(url)
        while response.is_redirect:
            target = response.headers["location"]
            if "/callback/" in target:
                parts = urlsplit(target)
                return f"{parts.path}?{parts.query}"
            response = web.get(str(response.url.join(target)))
            if "Sign in at the provider" in response.text:
                token = web.cookies["provider_csrf"]
                form = {"username": username, "password": password, "csrfmiddlewaretoken": token}
                response = web.post(response.url, data=form)
        raise AssertionError(f"the provider answered {response.status_code}: {response.text[:500]}")


def sign_in(browser: Client, email: str, *, username: str = "", **form: str) -> Any:
    """The whole way; the portal's last answer."""
    return browser.get(sign_in_there(begin(browser, email, **form), username or email))
