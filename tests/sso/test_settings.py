"""The tab "Single sign-on": the provider, its domains and their approval, who must use it, and what the test of the
connection tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from accounts import oidc, services_sso, sso
from accounts.models import AuditEvent, SsoConnection, SsoDomain, SsoIdentity, User
from accounts.permissions import OrganizationRole
from accounts.sso_checks import checks_of
from portal.errors import PermissionNeededError, UserError
from tests.accounts.test_mfa import add_passkey, sign_in_with
from tests.factories import (
    PASSWORD,
    actor,
    add_to_organization,
    make_connection,
    make_domain,
    make_organization,
    make_user,
)
from tests.mailbox import delivered
from tests.passkeys import Device
from tests.sso.world import Acme, Provider, begin, finish, make_member, sign_in, user_of
from tests.together import together

pytestmark = pytest.mark.django_db
SECRET = "a-secret-of-the-provider"


@pytest.fixture
def owner(acme: Acme) -> Client:
    client = Client()
    client.force_login(acme.owner)
    return client


def page_of(acme: Acme, more: str = "") -> str:
    return f"/o/{acme.organization.pk}/settings/sso/{more}"


# --- the provider ---------------------------------------------------------------------------------------------------


def test_from_nothing_to_the_first_sign_in(provider: Provider, db: None) -> None:
    person = make_user("owner")
    organization = make_organization(person, "Initech")
    client = Client()
    client.force_login(person)
    where = f"/o/{organization.pk}/settings/sso/"
    text = client.get(where).content.decode()
    uri = f"http://127.0.0.1:8000/sso/{organization.pk}/callback/"
    assert uri in text
    assert "Ask for domain" not in text
    registered = provider.control("client", redirect_uri=uri)
    assert client.post(where, {"issuer": provider.issuer, **registered}).status_code == 302
    assert client.post(f"{where}domains/", {"domain": "@Initech.Example."}).status_code == 302
    assert "waits for the operator" in client.get(where).content.decode()
    assert "No domain is approved yet" in client.post(f"{where}policy/", {"enabled": "on"}).content.decode()
    call_command("sso_approve", "initech.example")
    assert [mail.to for mail in delivered()] == [[person.email]]
    assert client.post(f"{where}policy/", {"enabled": "on", "joins": "on"}).status_code == 302
    provider.person("peter@initech.example")
    browser = Client()
    finish(browser, sign_in(browser, "peter@initech.example"))
    assert user_of(browser) == User.objects.get(email="peter@initech.example")
    assert "1 person has so far" in client.get(where).content.decode()


def test_the_secret_is_sealed_and_shown_to_nobody(acme: Acme, owner: Client) -> None:
    form = {"issuer": acme.provider.issuer, "client_id": "portal", "client_secret": SECRET}
    owner.post(page_of(acme), form)
    acme.connection.refresh_from_db()
    assert acme.connection.client_secret == SECRET
    assert SECRET not in acme.connection.sealed_secret
    assert SECRET not in owner.get(page_of(acme)).content.decode()
    assert SECRET not in owner.post(page_of(acme), {**form, "issuer": "nonsense"}).content.decode()
    assert SECRET not in str(list(AuditEvent.objects.values()))
    assert AuditEvent.objects.filter(verb="sso_connection.save").latest("number").detail["secret_changed"] is True


def test_an_empty_secret_keeps_the_one_there_is(acme: Acme, owner: Client) -> None:
    before = acme.connection.client_secret
    owner.post(page_of(acme), {"issuer": acme.provider.issuer, "client_id": "other", "client_secret": ""})
    acme.connection.refresh_from_db()
    assert (acme.connection.client_id, acme.connection.client_secret) == ("other", before)
    elsewhere = {"issuer": "https://elsewhere.example", "client_id": "other", "client_secret": ""}
    assert "Enter the client secret" in owner.post(page_of(acme), elsewhere).content.decode()  # not sent to another


def test_another_issuer_means_other_people(acme: Acme, owner: Client, browser: Client) -> None:
    user = make_member(acme, "bob")
    sign_in(browser, user.email)
    assert SsoIdentity.objects.exists()
    owner.post(page_of(acme), {"issuer": "https://new.example", "client_id": "x", "client_secret": "y"})
    assert not SsoIdentity.objects.exists()


ISSUERS = [
    "",
    "x",
    "idp.example",
    "http://idp.example",
    "https://",
    "https://a b",
    "https://u:p@idp.example",
    "ftp://x",
]
ISSUERS += ["https://idp.example/?a=1", "https://idp.example/#x", "https://idp.example:0", "https://idp.example:99999"]
ISSUERS += ["https://[::1", "javascript:alert(1)", "https://" + "x" * 500, "https://idp\n.example"]


@pytest.mark.parametrize("issuer", ISSUERS)
def test_what_is_no_address_is_refused_beside_its_field(acme: Acme, owner: Client, settings: Any, issuer: str) -> None:
    settings.PORTAL_PRIVATE_ADDRESSES = ""
    response = owner.post(page_of(acme), {"issuer": issuer, "client_id": "x", "client_secret": "y"})
    assert response.status_code == 422
    assert "issuer" in response.context["provider"].errors


@pytest.mark.parametrize(
    "issuer",
    [
        *(
            "https://127.0.0.1:9",
            "https://localhost",
            "https://169.254.169.254/latest",
            "https://[::1]",
            "https://10.0.0.1",
        ),
        *("https://0x7f000001", "https://2130706433", "https://[::ffff:127.0.0.1]"),
    ],
)
def test_no_provider_is_looked_for_in_our_own_network(acme: Acme, owner: Client, settings: Any, issuer: str) -> None:
    settings.PORTAL_PRIVATE_ADDRESSES = ""
    assert owner.post(page_of(acme), {"issuer": issuer, "client_id": "x", "client_secret": "y"}).status_code == 302
    text = owner.post(page_of(acme, "test/")).content.decode()
    assert "is in a private network" in text
    assert "Failed:" in text
    response = Client().post("/sso/", {"email": "ada@acme.example"})
    assert response.status_code == 502


def test_a_provider_that_leads_into_our_own_network_is_not_followed(
    acme: Acme, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own address is public, and those it names are not."""
    settings.PORTAL_PRIVATE_ADDRESSES = ""
    public, asked = oidc._ask, []
    issuer = "https://idp.example"
    named = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), "https://169.254.169.254/x")

    def ask(method: str, address: str, **options: Any) -> Any:
        asked.append(address)
        if address.startswith(issuer):
            return oidc._Answer(200, json.dumps({"issuer": issuer, **named}).encode())
        return public(method, address, **options)

    monkeypatch.setattr(oidc, "_ask", ask)
    acme.change(issuer=issuer)
    checks = checks_of(acme.connection)
    assert "private network" in next(check.detail for check in checks if not check.passed)


# --- the test of the connection -------------------------------------------------------------------------------------


def checked(acme: Acme) -> dict[str, bool]:
    return {check.name: check.passed for check in checks_of(acme.connection)}


def test_all_is_well(acme: Acme, owner: Client) -> None:
    assert all(checked(acme).values())
    assert len(checked(acme)) == 7
    text = owner.post(page_of(acme, "test/")).content.decode()
    assert "Client ID and secret" in text
    assert "acme.example" in text


def test_a_wrong_secret_is_found_before_anybody_signs_in(acme: Acme) -> None:
    acme.connection.client_secret = "not it"
    acme.connection.save(update_fields=["sealed_secret"])
    assert [name for name, passed in checked(acme).items() if not passed] == ["Client ID and secret"]


def test_what_else_can_be_wrong(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.change(issuer=acme.provider.issuer + "/")
    assert checked(acme) == {"Configuration of the provider": False}
    acme.change(issuer=f"{acme.provider.address}/nothing")
    assert checked(acme) == {"Configuration of the provider": False}
    acme.change(issuer="http://127.0.0.1:9")
    assert checked(acme) == {"Configuration of the provider": False}
    acme.change(issuer=acme.provider.issuer)
    SsoDomain.objects.update(approved_at=None)
    assert not checked(acme)["Approved domains"]
    monkeypatch.setattr(oidc, "keys_of", lambda provider: [])
    assert not checked(acme)["Keys that sign"]


def test_a_provider_without_the_code_flow(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    real = oidc.discover
    lists = {
        "response_types_supported": ["token"],
        "code_challenge_methods_supported": ["plain"],
        "claims_supported": ["sub"],
    }
    monkeypatch.setattr(oidc, "discover", lambda issuer: (real(issuer)[0], lists))
    failed = [name for name, passed in checked(acme).items() if not passed]
    assert failed == ["Authorization code", "PKCE"]


# --- domains --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("example.org", "example.org"),
        (" @Example.ORG. ", "example.org"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("\uff45xample.org", "example.org"),
    ],
)
def test_domains_have_one_spelling(typed: str, kept: str) -> None:
    assert sso.clean_domain(typed) == kept


@pytest.mark.parametrize(
    "domain",
    [
        *("", "example", "a b.org", "-a.org", "a..org", "a.org/x", "a@b.org", "127.0.0.1", "*.example.org", "a.o\0rg"),
        *("gmail.com", "GMAIL.com", "\uff47mail.com", "outlook.com", "x" * 64 + ".org", ("x" * 60 + ".") * 5 + "org"),
    ],
)
def test_what_is_no_domain_of_one_s_own_is_refused(acme: Acme, owner: Client, domain: str) -> None:
    response = owner.post(page_of(acme, "domains/"), {"domain": domain})
    assert response.status_code == 422
    assert SsoDomain.objects.count() == 1


def test_anybody_may_ask_and_one_gets_it(acme: Acme) -> None:
    other = make_connection(make_organization(make_user("bob"), "Globex"), "globex.example")
    wish = make_domain(other, "initech.example", approved=False)
    ours = make_domain(acme.connection, "initech.example", approved=False)
    services_sso.approve_domain(actor=actor(), domain=ours)
    with pytest.raises(UserError, match="DomainTaken"):
        services_sso.approve_domain(actor=actor(), domain=wish)
    with pytest.raises(UserError, match="DomainTaken"):
        services_sso.request_domain(actor=actor(acme.owner), connection=acme.connection, domain="globex.example")
    with pytest.raises(UserError, match="DomainAsked"):
        services_sso.request_domain(actor=actor(acme.owner), connection=acme.connection, domain="acme.example")
    services_sso.withdraw_approval(actor=actor(), domain=ours)
    services_sso.approve_domain(actor=actor(), domain=wish)


@pytest.mark.django_db(transaction=True)
def test_two_approvals_of_one_domain_at_once(provider: Provider) -> None:
    wishes = [
        make_domain(make_connection(make_organization(make_user(name))), "initech.example", approved=False)
        for name in ("bob", "eve")
    ]
    results = together(*[lambda wish=wish: services_sso.approve_domain(actor=actor(), domain=wish) for wish in wishes])
    assert SsoDomain.objects.approved().filter(domain="initech.example").count() == 1
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "UserError"]


def test_the_last_domain_switches_it_off(acme: Acme, owner: Client) -> None:
    acme.change(enforced=True)
    owner.post(page_of(acme, f"domains/{SsoDomain.objects.get().pk}/remove/"))
    acme.connection.refresh_from_db()
    assert (acme.connection.enabled, acme.connection.enforced) == (False, False)


def test_another_organization_s_domain_is_not_found(acme: Acme, owner: Client) -> None:
    other = make_connection(make_organization(make_user("bob"), "Globex"), "globex.example")
    assert owner.post(page_of(acme, f"domains/{other.domains.get().pk}/remove/")).status_code == 404
    assert other.domains.exists()


def test_the_command_says_what_is_wrong(acme: Acme) -> None:
    wrong = {"nobody.example": "No organization asked", "x": "Enter a domain", "gmail.com": "Everybody can have"}
    for domain, sentence in wrong.items():
        with pytest.raises(CommandError, match=sentence):
            call_command("sso_approve", domain)
    other = make_connection(make_organization(make_user("bob"), "Globex"), "globex.example")
    make_domain(other, "acme.example", approved=False)
    with pytest.raises(CommandError, match="Another organization speaks"):
        call_command("sso_approve", "acme.example", "--organization", str(other.organization_id))
    with pytest.raises(CommandError, match="Several asked"):
        call_command("sso_approve", "acme.example")


def test_staff_approve_and_withdraw(acme: Acme, browser: Client) -> None:
    domain = make_domain(acme.connection, "initech.example", approved=False)
    staff = make_user("root", is_staff=True, is_superuser=True)
    browser.force_login(staff)
    task = reverse("admin:accounts_ssodomain_task", args=[domain.pk, "approve"])
    assert b"proof" in browser.get(task).content
    browser.post(task)
    domain.refresh_from_db()
    assert (domain.approved_by, domain.approved_at is not None) == (staff, True)
    assert AuditEvent.objects.get(verb="sso_domain.approve").organization == acme.organization
    browser.post(reverse("admin:accounts_ssodomain_task", args=[domain.pk, "withdraw"]))
    domain.refresh_from_db()
    assert domain.approved_at is None


# --- who must -------------------------------------------------------------------------------------------------------


def by_password(user: User) -> tuple[Client, Any]:
    browser = Client()
    return browser, browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})


def test_members_of_the_domain_use_no_password_then(acme: Acme) -> None:
    acme.change(enforced=True)
    user = make_member(acme, "bob")
    browser, response = by_password(user)
    assert response.status_code == 403
    assert "Acme signs you in" in response.content.decode()
    assert user_of(browser) is None
    assert f'value="{user.email}"' in response.content.decode()
    finish(browser, sign_in(browser, user.email))
    assert user_of(browser) == user


def test_a_wrong_password_tells_nothing_of_it(acme: Acme) -> None:
    acme.change(enforced=True)
    user = make_member(acme, "bob")
    response = Client().post("/accounts/login/", {"login": user.email, "password": "not it"})
    assert response.status_code == 200
    assert "Acme" not in response.content.decode()


def test_nor_a_passkey(acme: Acme) -> None:
    user = make_member(acme, "bob")
    browser, device = Client(SERVER_NAME="localhost"), Device()
    finish(browser, browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD}))
    add_passkey(browser, device)
    acme.change(enforced=True)
    stranger = Client(SERVER_NAME="localhost")
    response = sign_in_with(device, stranger)
    assert response.status_code == 403
    assert user_of(stranger) is None


@pytest.mark.parametrize("who", ["owner of it", "address elsewhere", "member elsewhere", "not enforced", "disabled"])
def test_others_do(acme: Acme, who: str) -> None:
    acme.change(enforced=who != "not enforced")
    match who:
        case "owner of it":
            user = make_member(acme, "bob", OrganizationRole.OWNER)
        case "address elsewhere":
            user = make_user("bob")
            add_to_organization(acme.organization, user, OrganizationRole.MEMBER)
        case _:
            user = make_member(acme, "bob")
    if who == "member elsewhere":
        user.memberships.all().delete()
    if who == "disabled":
        acme.change(enforced=False, enabled=False)
    browser, response = by_password(user)
    finish(browser, response)
    assert user_of(browser) == user


def test_making_it_a_must_ends_sessions_of_another_way(acme: Acme, owner: Client) -> None:
    bob, eve = make_member(acme, "bob"), make_member(acme, "eve")
    second_owner = make_member(acme, "olga", OrganizationRole.OWNER)
    browsers = {}
    for user in (bob, eve, second_owner):
        browsers[user.first_name], response = by_password(user)
        finish(browsers[user.first_name], response)
    through = Client()
    finish(through, sign_in(through, eve.email))
    response = owner.post(page_of(acme, "policy/"), {"enabled": "on", "enforced": "on"}, follow=True)
    assert "2 sessions of people who came in another way ended." in response.content.decode()
    signed_in = {name: browser.get("/organizations/new/").status_code == 200 for name, browser in browsers.items()}
    assert signed_in == {"Bob": False, "Eve": False, "Olga": True}
    assert through.get("/organizations/new/").status_code == 200
    assert AuditEvent.objects.filter(verb="session.end").count() == 2


def test_what_is_off_is_no_must(acme: Acme, owner: Client) -> None:
    response = owner.post(page_of(acme, "policy/"), {"enforced": "on"})
    assert response.status_code == 422
    assert "What is off cannot be the only way in" in response.content.decode()


def test_only_owners_change_any_of_it(acme: Acme) -> None:
    admin = actor(make_member(acme, "bob", OrganizationRole.ADMIN))
    with pytest.raises(PermissionNeededError):
        services_sso.set_policy(actor=admin, connection=acme.connection, enabled=True, enforced=True, joins=True)
    with pytest.raises(PermissionNeededError):
        services_sso.remove_connection(actor=admin, connection=acme.connection)


def test_removing_it_leaves_the_people(acme: Acme, owner: Client, browser: Client) -> None:
    user = make_member(acme, "bob")
    finish(browser, sign_in(browser, user.email))
    acme.change(enforced=True)
    owner.post(page_of(acme, "remove/"))
    assert not SsoConnection.objects.exists()
    assert not SsoIdentity.objects.exists()
    again, response = by_password(user)
    finish(again, response)
    assert user_of(again) == user
    assert browser.get("/organizations/new/").status_code == 200


def test_a_deleted_organization_speaks_for_nobody(acme: Acme, owner: Client) -> None:
    owner.post(f"/o/{acme.organization.pk}/settings/delete/", {"name": "Acme"})
    assert not SsoConnection.objects.exists()
    assert sso.connection_for("ada@acme.example") is None


def test_the_sign_in_page_leads_here(browser: Client, db: None) -> None:
    assert 'href="/sso/"' in browser.get("/accounts/login/").content.decode()
    assert browser.get("/sso/?email=ada@acme.example").context["form"].initial == {"email": "ada@acme.example"}


def test_nothing_of_allauth_s_own_social_sign_in_is_there(browser: Client, db: None) -> None:
    for path in ("3rdparty/", "3rdparty/signup/", "3rdparty/login/error/", "oidc/x/login/", "social/connections/"):
        assert browser.get(f"/accounts/{path}").status_code == 404, path


def test_beginning_shows_where_it_leads(acme: Acme, browser: Client) -> None:
    """By a page: browsers hold form-action against a redirect."""
    url = begin(browser, "ada@acme.example")
    response = browser.post("/sso/", {"email": "ada@acme.example"})
    assert "form-action 'self'" in response["Content-Security-Policy"]
    text = response.content.decode()
    assert 'http-equiv="refresh"' in text
    assert url.partition("?")[0] in text
