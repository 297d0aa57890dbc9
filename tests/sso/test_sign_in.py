"""Signing in through an organization's provider: the good ways."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.db import connection as database
from django.test import Client

from accounts import oidc, services_sso
from accounts.models import AuditEvent, FormerMember, Membership, Organization, SsoIdentity, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_authenticator, make_domain, make_organization, make_user
from tests.sso.world import (
    Acme,
    Provider,
    begin,
    finish,
    make_acme,
    make_member,
    sign_in,
    sign_in_there,
    user_of,
)
from tests.together import together

pytestmark = pytest.mark.django_db


def test_somebody_new_gets_an_account_and_becomes_a_member(acme: Acme, browser: Client) -> None:
    subject = acme.provider.person("ada@acme.example")
    finish(browser, sign_in(browser, "Ada@ACME.example", username="ada@acme.example"))
    user = User.objects.get(email="ada@acme.example")
    assert user_of(browser) == user
    assert user.get_full_name() == "Ada Lovelace"
    assert not user.has_usable_password()
    address = EmailAddress.objects.get(user=user)
    assert (address.email, address.verified, address.primary) == (user.email, True, True)
    assert Membership.objects.get(user=user).role == OrganizationRole.MEMBER
    identity = SsoIdentity.objects.get()
    assert (identity.user, identity.subject, identity.connection) == (user, subject, acme.connection)
    verbs = AuditEvent.objects.filter(organization=acme.organization, actor_user=user).values_list("verb", flat=True)
    assert {"user.create", "membership.create", "sso_identity.link"} <= set(verbs)
    assert browser.get(f"/o/{acme.organization.pk}/workspaces/").status_code == 200


def test_a_member_is_found_by_address_first_and_by_subject_ever_after(acme: Acme) -> None:
    user = make_member(acme, "bob")
    first, second = Client(), Client()
    finish(first, sign_in(first, user.email))
    assert user_of(first) == user
    assert (User.objects.count(), SsoIdentity.objects.count()) == (2, 1)

    acme.provider.lie(email="robert@acme.example")  # another address for the same person
    finish(second, sign_in(second, user.email))
    assert user_of(second) == user
    assert (User.objects.count(), SsoIdentity.objects.count()) == (2, 1)


def test_an_account_that_belongs_nowhere_is_taken_in(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    Membership.objects.filter(user=user).delete()
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user
    assert Membership.objects.get(user=user).organization == acme.organization


def test_somebody_removed_and_invited_again_comes_back(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    FormerMember.objects.create(organization=acme.organization, user=user)
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user


def test_the_way_leads_to_the_page_that_was_asked_for(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    where = f"/o/{acme.organization.pk}/people/"
    page = browser.get(f"/accounts/login/?next={where}").content.decode()
    assert f"/sso/?next={where.replace('/', '%2F')}" in page or f"/sso/?next={where}" in page
    assert finish(browser, sign_in(browser, user.email, next=where))["Location"] == where


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:x"])
def test_the_way_leads_nowhere_else(acme: Acme, browser: Client, target: str) -> None:
    user = make_member(acme, "bob")
    assert finish(browser, sign_in(browser, user.email, next=target))["Location"] == "/"


def test_the_provider_is_asked_with_all_that_protects_the_answer(acme: Acme, browser: Client) -> None:
    first = parse_qs(urlsplit(begin(browser, "ada@acme.example")).query)
    second = parse_qs(urlsplit(begin(browser, "ada@acme.example")).query)
    assert first["code_challenge_method"] == ["S256"]
    assert first["response_type"] == ["code"]
    assert first["scope"] == ["openid email profile"]
    assert first["redirect_uri"] == [f"http://127.0.0.1:8000/sso/{acme.organization.pk}/callback/"]
    assert first["login_hint"] == ["ada@acme.example"]
    for secret in ("state", "nonce", "code_challenge"):
        assert len(first[secret][0]) >= 43
        assert first[secret] != second[secret]


def test_two_tabs_can_sign_in_one_after_the_other(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    ways = [sign_in_there(begin(browser, user.email), user.email) for _ in range(2)]
    finish(browser, browser.get(ways[1]))
    assert user_of(browser) == user
    stranger = Client()
    assert stranger.get(ways[0]).status_code == 400


def test_whoever_was_signed_in_is_signed_out(acme: Acme, browser: Client) -> None:
    user, other = make_member(acme, "bob"), make_user("mallory")
    browser.force_login(other)
    before = browser.session.session_key
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user
    assert browser.session.session_key != before


def test_a_second_factor_of_one_s_own_is_still_asked_for(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    make_authenticator(user)
    response = sign_in(browser, user.email)
    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert user_of(browser) is None
    code = format_hotp_value(hotp_value("JBSWY3DPEHPK3PXP", int(time.time()) // 30))
    finish(browser, browser.post("/accounts/2fa/authenticate/", {"code": code}))
    assert user_of(browser) == user


def test_it_counts_as_second_factor_for_its_own_organization_alone(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    other = make_organization(name="Strict")
    add_to_organization(other, user, OrganizationRole.MEMBER)
    Organization.objects.update(require_second_factor=True)
    finish(browser, sign_in(browser, user.email))
    assert browser.get(f"/o/{acme.organization.pk}/people/").status_code == 200
    assert browser.get(f"/o/{other.pk}/people/").status_code == 403
    by_password = Client()
    by_password.force_login(user)
    assert by_password.get(f"/o/{acme.organization.pk}/people/").status_code == 403


def test_each_organization_has_its_own_provider_and_domain(acme: Acme, provider: Provider, browser: Client) -> None:
    globex = make_acme(provider, "globex.example", name="Globex")
    provider.person("eve@globex.example")
    finish(browser, sign_in(browser, "eve@globex.example"))
    assert set(Organization.objects.of(User.objects.get(email="eve@globex.example"))) == {globex.organization}


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"], None])
def test_the_secret_goes_where_the_provider_takes_it(
    acme: Acme, browser: Client, monkeypatch: pytest.MonkeyPatch, methods: list[str] | None
) -> None:
    user = make_member(acme, "bob")
    real, sent = oidc._ask, []

    def seen(method: str, address: str, **options: Any) -> Any:
        if method == "POST":
            sent.append((options["auth"] is not None, "client_secret" in options["data"]))
        answer = real(method, address, **options)
        if address.endswith("openid-configuration"):
            found = json.loads(answer.body)
            found["token_endpoint_auth_methods_supported"] = methods
            answer = oidc._Answer(answer.status, json.dumps(found).encode())
        return answer

    monkeypatch.setattr(oidc, "_ask", seen)
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user
    assert sent == [(True, False)] if methods != ["client_secret_post"] else [(False, True)]


def test_an_address_in_the_userinfo_alone_is_found(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    acme.provider.lie(email=None, email_verified=None, given_name=None, family_name=None)
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"given_name": "Ada", "family_name": "King"}, "Ada King"),
        ({"given_name": None, "family_name": None, "name": "Ada King Lovelace"}, "Ada King Lovelace"),
        ({"given_name": None, "family_name": None}, "ada"),
        ({"given_name": "a\u202eb", "family_name": "<b>"}, "ada <b>"),
        ({"given_name": "x" * 300, "family_name": ""}, "x" * 100),
    ],
)
def test_names_are_taken_where_they_are_ones(acme: Acme, browser: Client, claims: dict[str, Any], name: str) -> None:
    acme.provider.person("ada@acme.example")
    acme.provider.lie(**claims)
    sign_in(browser, "ada@acme.example")
    assert User.objects.get(email="ada@acme.example").get_full_name() == name


def test_an_international_domain_is_one_in_all_its_spellings(acme: Acme, browser: Client) -> None:
    make_domain(acme.connection, "xn--bcher-kva.example")
    acme.provider.person("ada@xn--bcher-kva.example")
    acme.provider.lie(email="Ada@B\u00dcCHER.example")
    finish(browser, sign_in(browser, "ada@b\u00fccher.example", username="ada@xn--bcher-kva.example"))
    assert user_of(browser) == User.objects.get(email="ada@xn--bcher-kva.example")


@pytest.mark.django_db(transaction=True)
def test_somebody_new_twice_at_once_is_one(provider: Provider) -> None:
    acme = make_acme(provider)
    claims = oidc.Claims("7", "ada@acme.example", True, "Ada", "Lovelace")

    def admit() -> User:
        return services_sso.admit(connection=acme.connection, claims=claims, address=None)

    first, second = together(admit, admit)
    assert first == second == User.objects.get(email="ada@acme.example")
    assert SsoIdentity.objects.count() == 1
    assert Membership.objects.filter(organization=acme.organization).count() == 2
    database.close()
