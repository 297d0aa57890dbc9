"""Single sign-on that must not work: forged, replayed, foreign, expired, or about somebody whom no provider may name.

Each leaves nobody signed in, no account and no membership, and a page that says what happened.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import lockout
from accounts.models import FormerMember, Membership, SsoConnection, SsoDomain, SsoIdentity, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_organization, make_user
from tests.fakes import Clock
from tests.sso.world import Acme, Provider, begin, make_acme, make_member, move, sign_in, sign_in_there, user_of

pytestmark = pytest.mark.django_db
ADA = "ada@acme.example"


@pytest.fixture
def ada(acme: Acme) -> str:
    """Somebody at the provider of whom we have not heard."""
    acme.provider.person(ADA)
    return ADA


def made() -> tuple[int, int, int]:
    return User.objects.count(), Membership.objects.count(), SsoIdentity.objects.count()


def refused(browser: Client, response: Any, code: str, before: tuple[int, int, int]) -> bool:
    assert code in response.content.decode(), response.content.decode()
    assert "data-error-message" in response.content.decode()
    assert response.status_code in {400, 403, 404, 409, 502}
    assert user_of(browser) is None
    assert made() == before
    return True


# --- what the provider says -----------------------------------------------------------------------------------------

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a foreign domain": ({"email": "ada@globex.example"}, "ForeignDomain"),
    "a subdomain": ({"email": "ada@eu.acme.example"}, "ForeignDomain"),
    "a domain that ends alike": ({"email": "ada@not-acme.example"}, "ForeignDomain"),
    "a domain that only looks alike": ({"email": "ada@\u0430cme.example"}, "ForeignDomain"),
    "two domains": ({"email": "ada@acme.example@globex.example"}, "NoEmail"),
    "no address": ({"email": ""}, "NoEmail"),
    "a mailbox outside ASCII": ({"email": "\u0430da@acme.example"}, "NoEmail"),
    "an address that it doubts": ({"email_verified": False}, "EmailNotVerified"),
    "an address that it doubts in words": ({"email_verified": "false"}, "EmailNotVerified"),
    "an expired token": ({"exp": int(time.time()) - 3600}, "TokenInvalid"),
    "a token from the future": ({"iat": int(time.time()) + 3600}, "TokenInvalid"),
    "a token without end": ({"exp": None}, "TokenInvalid"),
    "a token that ends at no time": ({"exp": "soon"}, "TokenInvalid"),
    "another sign-in's nonce": ({"nonce": "of another"}, "TokenInvalid"),
    "another client": ({"aud": "somebody else"}, "TokenInvalid"),
    "a party that is not ours": ({"azp": "somebody else"}, "TokenInvalid"),
    "another issuer": ({"iss": "https://evil.example"}, "TokenInvalid"),
    "nobody": ({"sub": ""}, "TokenInvalid"),
    "too long a name for somebody": ({"sub": "x" * 256}, "TokenInvalid"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_provider_is_not_believed_when_it_names(acme: Acme, ada: str, browser: Client, lie: str) -> None:
    claims, code = LIES[lie]
    before = made()
    acme.provider.lie({"email": ""} if claims.get("email") == "" else None, **claims)
    assert refused(browser, sign_in(browser, ada), code, before)


def test_userinfo_about_somebody_else_is_not_believed(acme: Acme, ada: str, browser: Client) -> None:
    before = made()
    acme.provider.lie({"sub": "99", "email": "owner@acme.example"}, email=None)
    assert refused(browser, sign_in(browser, ada), "TokenInvalid", before)


# --- whom no provider may name --------------------------------------------------------------------------------------


def test_staff(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    before = made()
    assert refused(browser, sign_in(browser, user.email), "StaffAccount", before)


def test_somebody_of_another_organization(acme: Acme, browser: Client) -> None:
    """Whoever owns a domain must not come into another tenant by it."""
    user = move(make_user("bob"), "bob@acme.example")
    add_to_organization(make_organization(name="Globex"), user, OrganizationRole.OWNER)
    acme.provider.person(user.email)
    before = made()
    assert refused(browser, sign_in(browser, user.email), "MemberElsewhere", before)


def test_somebody_who_was_removed_does_not_come_back(acme: Acme, browser: Client) -> None:
    user = make_member(acme, "bob")
    owner = Client()
    owner.force_login(acme.owner)
    membership = Membership.objects.get(user=user)
    sign_in(browser, user.email)
    browser.logout()
    assert owner.post(f"/o/{acme.organization.pk}/people/{membership.pk}/remove/").status_code == 302
    assert FormerMember.objects.get().user == user
    before = made()
    assert refused(browser, sign_in(browser, user.email), "FormerMember", before)


def test_somebody_new_where_newcomers_need_an_invitation(acme: Acme, ada: str, browser: Client) -> None:
    acme.change(joins=False)
    before = made()
    assert refused(browser, sign_in(browser, ada), "NotAMember", before)


@pytest.mark.parametrize("state", ["inactive", "locked"])
def test_somebody_who_is_shut_out_hears_what_everybody_hears(acme: Acme, browser: Client, state: str) -> None:
    user = make_member(acme, "bob")
    shut = {"is_active": False} if state == "inactive" else {"locked_at": timezone.now()}
    User.objects.filter(pk=user.pk).update(**shut)
    response = sign_in(browser, user.email)
    assert response.status_code == 403
    assert lockout.SENTENCE in response.content.decode()
    assert user_of(browser) is None


# --- the way back ---------------------------------------------------------------------------------------------------


def test_an_answer_is_taken_once(acme: Acme, ada: str, browser: Client) -> None:
    way = sign_in_there(begin(browser, ada), ada)
    assert browser.get(way).status_code == 302
    browser.logout()
    before = made()
    assert refused(browser, browser.get(way), "SsoNotBegun", before)


def test_a_state_is_good_for_one_answer_also_when_that_was_a_refusal(acme: Acme, ada: str, browser: Client) -> None:
    way = sign_in_there(begin(browser, ada), ada)
    state = way.partition("&state=")[2].partition("&")[0]
    before = made()
    where = f"/sso/{acme.organization.pk}/callback/"
    assert refused(browser, browser.get(f"{where}?error=access_denied&state={state}"), "access_denied", before)
    assert refused(browser, browser.get(way), "SsoNotBegun", before)


def test_a_code_is_redeemed_once(acme: Acme, ada: str, browser: Client) -> None:
    """The same code with a state that is good."""
    first = sign_in_there(begin(browser, ada), ada)
    browser.get(first)
    browser.logout()
    before = made()
    fresh = begin(browser, ada).partition("state=")[2].partition("&")[0]
    replayed = first.partition("&state=")[0] + f"&state={fresh}"
    response = browser.get(replayed)
    assert refused(browser, response, "ProviderRefused", before)
    assert "invalid_grant" in response.content.decode()


def test_a_code_of_another_browser_s_sign_in_is_not_taken(acme: Acme, ada: str, browser: Client) -> None:
    """Its verifier is another one: that is what PKCE is for."""
    stolen = sign_in_there(begin(Client(), ada), ada)
    state = begin(browser, ada).partition("state=")[2].partition("&")[0]
    before = made()
    assert refused(browser, browser.get(stolen.partition("&state=")[0] + f"&state={state}"), "ProviderRefused", before)


@pytest.mark.parametrize("change", ["state", "other browser", "other organization", "other issuer", "late", "no state"])
def test_an_answer_to_something_else_is_not_taken(
    acme: Acme, ada: str, provider: Provider, browser: Client, clock: Clock, change: str
) -> None:
    way = sign_in_there(begin(browser, ada), ada)
    match change:
        case "state":
            way = way[:-3] + "abc"
        case "no state":
            way = way.partition("&state=")[0]
        case "other browser":
            browser = Client()
        case "other organization":
            globex = make_acme(provider, "globex.example", name="Globex")
            way = way.replace(str(acme.organization.pk), str(globex.organization.pk))
        case "other issuer":
            way = way.replace("iss=", "was=") + "&iss=https://evil.example"
        case "late":
            clock.move(minutes=11)
    before = made()
    assert refused(browser, browser.get(way), "SsoNotBegun", before)


def test_a_refusal_of_the_provider_is_passed_on(acme: Acme, ada: str, browser: Client) -> None:
    state = begin(browser, ada).partition("state=")[2].partition("&")[0]
    before = made()
    query = f"error=access_denied&error_description=<b>Not+in+the+group</b>&state={state}"
    response = browser.get(f"/sso/{acme.organization.pk}/callback/?{query}")
    assert refused(browser, response, "access_denied", before)
    assert "&lt;b&gt;Not in the group&lt;/b&gt;" in response.content.decode()


@pytest.mark.parametrize("query", ["", "code=%00&state=%00", "state=" + "x" * 5000, "code[]=1&state[]=2", "error=%0a"])
def test_nonsense_is_explained(acme: Acme, browser: Client, query: str) -> None:
    assert refused(browser, browser.get(f"/sso/{acme.organization.pk}/callback/?{query}"), "SsoNotBegun", made())


def test_an_unknown_organization_is_not_told_from_a_known_one(acme: Acme, browser: Client) -> None:
    known = browser.get(f"/sso/{acme.organization.pk}/callback/?code=1&state=2")
    unknown = browser.get("/sso/00000000-0000-0000-0000-000000000000/callback/?code=1&state=2")
    assert known.content == unknown.content


# --- a provider that cannot -----------------------------------------------------------------------------------------


def test_a_wrong_secret_is_the_provider_s_refusal(acme: Acme, ada: str, browser: Client) -> None:
    acme.connection.client_secret = "not it"
    acme.connection.save(update_fields=["sealed_secret"])
    before = made()
    response = sign_in(browser, ada)
    assert refused(browser, response, "ProviderRefused", before)
    assert "invalid_client" in response.content.decode()
    assert "not it" not in response.content.decode()


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_provider_that_is_down(acme: Acme, ada: str, browser: Client, when: str) -> None:
    before = made()
    if when == "before":
        acme.change(issuer="http://127.0.0.1:9/o")
        response = browser.post("/sso/", {"email": ada})
    else:
        way = sign_in_there(begin(browser, ada), ada)
        acme.change(issuer="http://127.0.0.1:9/o")
        response = browser.get(way.replace("iss=", "was="))
    assert refused(browser, response, "ProviderUnreachable", before)
    assert "127.0.0.1:9 cannot be reached" in response.content.decode()


@pytest.mark.parametrize("change", ["disabled", "not approved", "domain removed", "removed"])
@pytest.mark.parametrize("when", ["before", "between"])
def test_single_sign_on_that_was_switched_off(acme: Acme, ada: str, browser: Client, change: str, when: str) -> None:
    way = sign_in_there(begin(browser, ada), ada) if when == "between" else ""
    match change:
        case "disabled":
            acme.change(enabled=False)
        case "not approved":
            SsoDomain.objects.update(approved_at=None)
        case "domain removed":
            SsoDomain.objects.all().delete()
        case "removed":
            SsoConnection.objects.all().delete()
    before = made()
    if when == "between":
        code = "ForeignDomain" if "domain" in change or "approved" in change else "SsoOff"
        assert refused(browser, browser.get(way), code, before)
    else:
        response = browser.post("/sso/", {"email": ada})
        assert response.status_code == 422
        assert "No organization signs in people of this domain" in response.content.decode()


def test_domains_that_nobody_speaks_for_are_answered_alike(acme: Acme, browser: Client) -> None:
    """Whether or not there is an account with that address."""
    known = browser.post("/sso/", {"email": make_user("known").email})
    unknown = browser.post("/sso/", {"email": "nobody@example.org"})
    assert known.status_code == unknown.status_code == 422
    assert known.context["form"].errors == unknown.context["form"].errors


def test_asking_too_often_has_to_wait(acme: Acme, browser: Client) -> None:
    answers = [browser.post("/sso/", {"email": "ada@nowhere.example"}).status_code for _ in range(31)]
    assert answers == [422] * 30 + [429]
    assert "Wait" in browser.post("/sso/", {"email": "ada@nowhere.example"}).content.decode()
