"""Sign-ins and what people do to their own accounts are in the audit log of each of their organizations."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from accounts import audit, signin_events
from accounts.models import AuditEvent, Organization, User
from accounts.permissions import OrganizationRole
from tests.accounts.conftest import new_browser
from tests.accounts.test_mfa import add_passkey, code, confirm, recovery_codes, set_up_app, sign_in, sign_in_with
from tests.factories import PASSWORD, add_to_organization, make_authenticator, make_organization, make_user, stay_away
from tests.mailbox import link_in_mail
from tests.passkeys import Device

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forgotten_limits() -> None:
    cache.clear()


@pytest.fixture
def acme() -> Organization:
    return make_organization(name="Acme")


@pytest.fixture
def alice(acme: Organization) -> User:
    """In two organizations."""
    alice = make_user("alice")
    add_to_organization(acme, alice, OrganizationRole.MEMBER)
    make_organization(alice, "Globex")
    return alice


@pytest.fixture
def browser(alice: User) -> Client:
    """Signed in a moment ago, at a host name, as passkeys have to be."""
    browser = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.0.0.7")
    assert sign_in(browser, alice)["Location"] == "/"
    return browser


def events(user: User, verb: str) -> list[AuditEvent]:
    """Oldest first, checked: the same in each of their organizations."""
    found = AuditEvent.objects.filter(object_id=str(user.pk), object_type="user", verb=verb).order_by("number")
    places: list[Any] = list(Organization.objects.of(user).values_list("pk", flat=True)) or [None]
    by_place = [[event for event in found if event.organization_id == place] for place in places]
    first = [(event.actor_label, event.detail, event.address) for event in by_place[0]]
    for others in by_place[1:]:
        assert [(event.actor_label, event.detail, event.address) for event in others] == first
    assert sum(map(len, by_place)) == len(found)
    return by_place[0]


def only(user: User, verb: str) -> AuditEvent:
    (event,) = events(user, verb)
    return event


def verbs() -> list[str]:
    return list(dict.fromkeys(AuditEvent.objects.order_by("number").values_list("verb", flat=True)))


# --- signing in and out ---------------------------------------------------------------------------------------------


def test_a_sign_in_by_password_and_a_sign_out(browser: Client, alice: User) -> None:
    event = only(alice, "user.sign_in")
    assert (event.actor_user, event.address, event.detail) == (alice, "10.0.0.7", {"by": ["password"]})
    assert event.actor_label == f"Alice Example <{alice.email}>"
    browser.post("/accounts/logout/")
    assert only(alice, "user.sign_out").address == "10.0.0.7"
    assert verbs() == ["user.sign_in", "user.sign_out"]


def test_somebody_in_no_organization_is_in_the_platforms_log() -> None:
    bob = make_user("bob")
    sign_in(new_browser(), bob)
    assert only(bob, "user.sign_in").organization is None


@pytest.mark.parametrize("spelling", ["as it is", "other case"])
def test_a_wrong_password_is_nobodys_act(alice: User, spelling: str) -> None:
    email = alice.email if spelling == "as it is" else alice.email.upper()
    Client(REMOTE_ADDR="10.6.6.6").post("/accounts/login/", {"login": email, "password": "hunter2-hunter2"})
    event = only(alice, "user.sign_in_failed")
    assert (event.actor_kind, event.actor_user, event.address) == ("visitor", None, "10.6.6.6")
    assert event.object_label == "Alice Example"
    assert "hunter2" not in str(AuditEvent.objects.values())


def test_an_unknown_address_is_not_recorded() -> None:
    browser = Client(REMOTE_ADDR="10.6.6.6")
    for email in ("mallory@example.org", "my-password-by-mistake@example.org"):
        browser.post("/accounts/login/", {"login": email, "password": "hunter2-hunter2"})
    found = list(AuditEvent.objects.all())
    assert [(event.verb, event.organization, event.object_id) for event in found] == [
        ("user.sign_in_failed", None, "")
    ] * 2
    assert found[0].address == "10.6.6.6"
    written = str(list(AuditEvent.objects.values()))
    assert all(text not in written for text in ("mallory", "mistake", "hunter2"))


def test_known_and_unknown_addresses_leave_as_many_events(alice: User) -> None:
    """What takes longer for one of them would tell which it is."""
    alice.memberships.first().delete()  # type: ignore[union-attr]
    counts = []
    for email in (alice.email, "mallory@example.org"):
        before = AuditEvent.objects.count()
        new_browser().post("/accounts/login/", {"login": email, "password": "hunter2-hunter2"})
        counts.append(AuditEvent.objects.count() - before)
    assert counts == [1, 1]


def test_who_is_locked_out_is_refused(alice: User) -> None:
    stay_away(alice, days=91)
    sign_in(new_browser(), alice)
    assert only(alice, "user.sign_in_refused").detail == {"why": "locked out"}
    assert "user.sign_in" not in verbs()


def test_an_account_that_staff_shut_out_is_not_let_in(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    sign_in(new_browser(), alice)
    assert verbs() == ["user.sign_in_failed"]


def test_a_password_asked_again_may_be_wrong(browser: Client, alice: User) -> None:
    session = browser.session
    session["account_authentication_methods"] = []
    session.save()
    browser.post("/accounts/reauthenticate/", {"password": "wrong"})
    assert only(alice, "user.confirm_failed").actor_user == alice
    assert "user.sign_in_failed" not in verbs()


def test_a_session_that_is_too_old_is_ended_by_the_platform(browser: Client, alice: User, settings: Any) -> None:
    settings.PORTAL_SESSION_DAYS = -1
    browser.get("/organizations/new/")
    assert only(alice, "user.sign_out").actor_label == "Bodo Cloud Platform (session limit)"


def test_a_session_ended_from_another_browser(browser: Client, alice: User, acme: Organization) -> None:
    sign_in(Client(REMOTE_ADDR="10.0.0.8"), alice)
    browser.post("/accounts/sessions/")
    found = AuditEvent.objects.filter(verb="session.end")
    assert {event.organization for event in found} == set(Organization.objects.of(alice))
    assert {event.detail["address"] for event in found} == {"10.0.0.8"}


def test_staff_who_signs_out_of_the_operators_pages() -> None:
    root = make_user("root", is_staff=True, is_superuser=True)
    browser = new_browser()
    browser.force_login(root)
    browser.post("/admin/logout/")
    assert only(root, "user.sign_out").actor_user == root


# --- passwords and addresses ----------------------------------------------------------------------------------------


def test_a_changed_password(browser: Client, alice: User) -> None:
    new = "a better engine of brass"
    form = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    browser.post("/accounts/password/change/", {**form, "oldpassword": "wrong"})
    assert "user.change_password" not in verbs()
    browser.post("/accounts/password/change/", form)
    assert only(alice, "user.change_password").detail == {}
    assert new not in str(list(AuditEvent.objects.values()))


def test_addresses_come_and_go(browser: Client, alice: User) -> None:
    first = alice.email
    confirm(browser, "/accounts/email/")
    browser.post("/accounts/email/", {"action_add": "", "email": "second@example.org"})
    browser.post(link_in_mail("second@example.org"))
    added, confirmed = only(alice, "user.add_address"), only(alice, "user.confirm_address")
    assert (added.detail, confirmed.detail) == (
        {"after": {"address": "second@example.org"}},
        {"confirmed": "second@example.org"},
    )
    browser.post("/accounts/email/", {"action_primary": "", "email": "second@example.org"})
    changed = only(alice, "user.change_address")
    assert changed.detail == {"before": {"address": first}, "after": {"address": "second@example.org"}}
    browser.post("/accounts/email/", {"action_remove": "", "email": first})
    assert only(alice, "user.remove_address").detail == {"before": {"address": first}}


# --- second factors -------------------------------------------------------------------------------------------------


def test_an_app_and_its_recovery_codes(browser: Client, alice: User) -> None:
    set_up_app(browser)
    assert only(alice, "user.add_factor").detail == {"after": {"kind": "totp"}}
    assert only(alice, "user.make_recovery_codes").detail == {}
    codes = recovery_codes(browser)
    browser.post("/accounts/2fa/recovery-codes/generate/")
    assert len(events(alice, "user.make_recovery_codes")) == 2
    browser.post("/accounts/2fa/totp/deactivate/")
    assert only(alice, "user.remove_factor").detail == {"before": {"kind": "totp"}}
    assert not any(secret in str(list(AuditEvent.objects.values())) for secret in codes)


def test_a_sign_in_with_both_factors_or_with_a_recovery_code(browser: Client, alice: User) -> None:
    secret = set_up_app(browser)
    codes = recovery_codes(browser)
    stranger = new_browser()
    sign_in(stranger, alice)
    assert len(events(alice, "user.sign_in")) == 1, "the password alone is no sign-in"
    stranger.post("/accounts/2fa/authenticate/", {"code": "000000"})
    assert only(alice, "user.sign_in_failed").detail == {"by": "totp"}
    stranger.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert events(alice, "user.sign_in")[-1].detail == {"by": ["password", "totp"]}
    assert "user.use_recovery_code" not in verbs()
    other = new_browser()
    sign_in(other, alice)
    other.post("/accounts/2fa/authenticate/", {"code": codes[0]})
    assert only(alice, "user.use_recovery_code").detail == {"left": len(codes) - 1}
    assert events(alice, "user.sign_in")[-1].detail == {"by": ["password", "recovery_codes"]}


def test_a_passkey(browser: Client, alice: User) -> None:
    device = Device()
    add_passkey(browser, device)
    assert only(alice, "user.add_factor").detail == {"after": {"kind": "webauthn", "name": "Laptop"}}
    sign_in_with(device, Client(SERVER_NAME="localhost"))
    assert events(alice, "user.sign_in")[-1].detail == {"by": ["webauthn"]}


def test_factors_that_go_with_their_user_or_by_the_hand_of_staff_are_not_the_users_act(alice: User) -> None:
    make_authenticator(alice)
    root = make_user("root", is_staff=True, is_superuser=True)
    staff = new_browser()
    staff.force_login(root)
    make_authenticator(root)
    alice.delete()
    assert AuditEvent.objects.filter(verb__contains="factor").count() == 0


# --- one transaction ------------------------------------------------------------------------------------------------


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("no audit log")


@pytest.mark.parametrize("what", ["password", "address", "app", "sign-in", "sign-out"])
def test_without_the_event_nothing_is_done(
    browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    secret = confirm(browser, "/accounts/2fa/totp/activate/").context["form"].secret
    new = "a better engine of brass"
    stranger = new_browser()
    act: dict[str, tuple[Client, str, dict[str, str]]] = {
        "password": (browser, "password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new}),
        "address": (browser, "email/", {"action_add": "", "email": "second@example.org"}),
        "app": (browser, "2fa/totp/activate/", {"code": code(secret)}),
        "sign-in": (stranger, "login/", {"login": alice.email, "password": PASSWORD}),
        "sign-out": (browser, "logout/", {}),
    }
    before = state(alice)
    monkeypatch.setattr(audit, "_event", broken)
    client, where, form = act[what]
    with pytest.raises(RuntimeError, match="no audit log"):
        client.post(f"/accounts/{where}", form)
    assert state(alice) == before
    assert browser.get("/organizations/new/").status_code == 200, "still signed in"


def state(user: User) -> Any:
    user.refresh_from_db()
    addresses = list(EmailAddress.objects.filter(user=user).values_list("email", flat=True))
    factors, sessions = Authenticator.objects.filter(user=user), UserSession.objects.filter(user=user)
    return user.password, user.last_login, addresses, factors.count(), sessions.count()


@pytest.mark.parametrize(
    ("module", "inside"),
    [
        *((f"allauth.{name}", True) for name in ("account.views", "mfa.totp.views", "usersessions.views")),
        ("allauth.socialaccount.providers.openid_connect.views", False),
    ],
)
def test_only_pages_that_ask_no_other_server_are_one_transaction(module: str, inside: bool) -> None:
    depths = []

    def view(*_: object) -> HttpResponse:
        depths.append(len(connection.savepoint_ids))
        return HttpResponse()

    view.__module__ = module
    inner = path("y/", view)
    signin_events.one_transaction([path("x/", include([inner]))])
    outside = len(connection.savepoint_ids)
    inner.callback(HttpRequest())
    assert (depths[0] > outside) == inside
