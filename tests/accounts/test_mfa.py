"""Authenticator apps, passkeys and recovery codes, through the pages that people use."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.lockout import SENTENCE
from accounts.models import User
from accounts.second_factor import has_second_factor, without_second_factor
from tests.factories import PASSWORD, make_user
from tests.mailbox import delivered
from tests.passkeys import Device

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forgotten_limits() -> None:
    cache.clear()


@pytest.fixture
def user() -> User:
    return make_user()


@pytest.fixture
def browser(user: User) -> Client:
    """At a host name, as passkeys have to be; signed in a moment ago."""
    browser = Client(SERVER_NAME="localhost")
    assert sign_in(browser, user)["Location"] == "/"
    return browser


def sign_in(browser: Client, user: User, password: str = PASSWORD) -> Any:
    return browser.post("/accounts/login/", {"login": user.email, "password": password})


def is_in(browser: Client) -> bool:
    return browser.get("/organizations/new/").status_code == 200


def confirm(browser: Client, path: str, **also: str) -> Any:
    """Ask for a delicate page, and give the password where it is asked for."""
    response = browser.get(path)
    if response.status_code == 302 and "reauthenticate" in response["Location"]:
        response = browser.post(response["Location"], {"password": PASSWORD, **also}, follow=True)
    return response


def code(secret: str, periods: int = 0) -> str:
    """What an authenticator app shows, now or so many periods later."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + periods)))


def set_up_app(browser: Client) -> str:
    """The secret of a new app."""
    secret: str = confirm(browser, "/accounts/2fa/totp/activate/").context["form"].secret
    response = browser.post("/accounts/2fa/totp/activate/", {"code": code(secret)})
    assert response["Location"] == "/accounts/2fa/recovery-codes/"
    return secret


def add_passkey(browser: Client, device: Device, **form: Any) -> Any:
    page = confirm(browser, "/accounts/2fa/webauthn/add/")
    credential = device.register(page.context["js_data"]["creation_options"])
    form = {"name": "Laptop", "passwordless": "on", "credential": json.dumps(credential), **form}
    return browser.post("/accounts/2fa/webauthn/add/", form)


def sign_in_with(device: Device, browser: Client, **changes: Any) -> Any:
    asked = browser.get("/accounts/2fa/webauthn/login/", headers={"accept": "application/json"}).json()
    credential = {**device.sign(asked["request_options"]), **changes}
    return browser.post("/accounts/2fa/webauthn/login/", {"credential": json.dumps(credential)})


def recovery_codes(browser: Client) -> list[str]:
    return re.findall(r"<li>(\d{8})</li>", confirm(browser, "/accounts/2fa/recovery-codes/").content.decode())


# --- an authenticator app -------------------------------------------------------------------------------------------


def test_an_app_is_set_up_and_asked_for_at_the_next_sign_in(
    browser: Client, user: User, django_capture_on_commit_callbacks: Any
) -> None:
    assert not has_second_factor(user)
    with django_capture_on_commit_callbacks(execute=True):
        secret = set_up_app(browser)
    assert has_second_factor(user)
    assert delivered()[-1].to == [user.email]
    assert "authenticator app" in str(delivered()[-1].body)

    stranger = Client()
    response = sign_in(stranger, user)
    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert not is_in(stranger)
    assert stranger.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    assert not is_in(stranger)
    assert stranger.post("/accounts/2fa/authenticate/", {"code": code(secret)})["Location"] == "/"
    assert is_in(stranger)


def test_the_secret_lies_sealed_in_the_database(browser: Client) -> None:
    secret = set_up_app(browser)
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert recovery_codes(browser)
    assert all(seen not in stored for seen in recovery_codes(browser))


@pytest.mark.parametrize("periods", [-1, 0, 1])
def test_a_code_is_taken_once_as_long_as_it_lives(browser: Client, user: User, periods: int) -> None:
    secret = set_up_app(browser)
    seen = code(secret, periods)
    first, second = Client(), Client()
    for client in (first, second):
        sign_in(client, user)
        cache.delete(f"allauth.mfa.totp.used?user={user.pk}&code={seen}")  # as allauth does itself after 30 s
        client.post("/accounts/2fa/authenticate/", {"code": seen})
    assert is_in(first)
    assert not is_in(second)


def test_guessing_codes_is_slowed_down(browser: Client, user: User) -> None:
    secret = set_up_app(browser)
    stranger = Client(REMOTE_ADDR="10.2.0.1")
    sign_in(stranger, user)
    for guess in range(6):
        response = stranger.post("/accounts/2fa/authenticate/", {"code": f"{guess:06}"})
    assert "Too many" in response.content.decode()
    stranger.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert not is_in(stranger)  # even the right one has to wait now


def test_deactivating_asks_first_and_ends_it(browser: Client, user: User) -> None:
    set_up_app(browser)
    assert b"Deactivate the authenticator app?" in browser.get("/accounts/2fa/totp/deactivate/").content
    browser.post("/accounts/2fa/totp/deactivate/")
    assert not Authenticator.objects.exists()
    assert sign_in(Client(), user)["Location"] == "/"


def test_setting_up_asks_for_the_password_again(user: User) -> None:
    browser = Client()
    browser.force_login(user)
    for page in ("totp/activate", "webauthn/add", "recovery-codes/generate"):
        response = browser.get(f"/accounts/2fa/{page}/")
        assert response["Location"].startswith("/accounts/reauthenticate/"), page
    wrong = browser.post("/accounts/reauthenticate/?next=/accounts/2fa/totp/activate/", {"password": "not it"})
    assert wrong.status_code == 200
    assert browser.get("/accounts/2fa/totp/activate/").status_code == 302


# --- recovery codes -------------------------------------------------------------------------------------------------


def test_a_recovery_code_works_once(browser: Client, user: User) -> None:
    set_up_app(browser)
    codes = recovery_codes(browser)
    assert len(codes) == 10
    first, second = Client(), Client()
    for client in (first, second):
        sign_in(client, user)
        client.post("/accounts/2fa/authenticate/", {"code": codes[3]})
    assert is_in(first)
    assert not is_in(second)
    assert recovery_codes(browser) == codes[:3] + codes[4:]
    assert b"9 codes left" in browser.get("/accounts/2fa/").content


def test_new_codes_replace_the_old_ones(browser: Client, user: User) -> None:
    set_up_app(browser)
    old = recovery_codes(browser)
    confirm(browser, "/accounts/2fa/recovery-codes/generate/")
    browser.post("/accounts/2fa/recovery-codes/generate/")
    new = recovery_codes(browser)
    assert not set(old) & set(new)
    stranger = Client()
    sign_in(stranger, user)
    stranger.post("/accounts/2fa/authenticate/", {"code": old[0]})
    assert not is_in(stranger)


def test_the_download_is_a_text_of_all_codes(browser: Client, user: User) -> None:
    set_up_app(browser)
    response = browser.get("/accounts/2fa/recovery-codes/download/")
    assert response["Content-Disposition"] == 'attachment; filename="recovery-codes.txt"'
    assert re.findall(r"^\d{8}$", response.content.decode(), re.MULTILINE) == recovery_codes(browser)
    assert user.email in response.content.decode()


# --- passkeys -------------------------------------------------------------------------------------------------------


def test_a_passkey_signs_in_alone(browser: Client, user: User) -> None:
    device = Device()
    assert add_passkey(browser, device)["Location"] == "/accounts/2fa/recovery-codes/"
    assert "passkey" in str(delivered()[-1].body)
    page = browser.get("/accounts/2fa/").content.decode()
    assert "Laptop" in page
    assert "alone" in page
    stranger = Client(SERVER_NAME="localhost")
    assert sign_in_with(device, stranger)["Location"] == "/"
    assert stranger.session["_auth_user_id"] == str(user.pk)
    assert "last used" in browser.get("/accounts/2fa/").content.decode().lower()


def test_a_passkey_is_the_second_factor_too(browser: Client, user: User) -> None:
    device = Device()
    add_passkey(browser, device)
    stranger = Client(SERVER_NAME="localhost")
    assert sign_in(stranger, user)["Location"] == "/accounts/2fa/authenticate/"
    page = stranger.get("/accounts/2fa/authenticate/")
    assert b"Use your passkey" in page.content
    credential = device.sign(page.context["js_data"]["request_options"])
    response = stranger.post("/accounts/2fa/authenticate/", {"credential": json.dumps(credential)})
    assert response["Location"] == "/"
    assert is_in(stranger)


def test_who_has_only_an_app_is_not_offered_a_passkey(browser: Client, user: User) -> None:
    set_up_app(browser)
    stranger = Client(SERVER_NAME="localhost")
    sign_in(stranger, user)
    assert b"Use your passkey" not in stranger.get("/accounts/2fa/authenticate/").content


def test_what_a_passkey_signed_once_is_worth_nothing_again(browser: Client) -> None:
    device = Device()
    add_passkey(browser, device)
    first, second = Client(SERVER_NAME="localhost"), Client(SERVER_NAME="localhost")
    asked = first.get("/accounts/2fa/webauthn/login/", headers={"accept": "application/json"}).json()
    form = {"credential": json.dumps(device.sign(asked["request_options"]))}
    second.get("/accounts/2fa/webauthn/login/", headers={"accept": "application/json"})
    second.post("/accounts/2fa/webauthn/login/", form)
    assert not is_in(second)  # another challenge
    first.post("/accounts/2fa/webauthn/login/", form)
    first.post("/accounts/logout/")
    first.post("/accounts/2fa/webauthn/login/", form)
    assert not is_in(first)


@pytest.mark.parametrize(
    "fault", ["no fingerprint", "another origin", "another key", "somebody else", "inactive", "locked"]
)
def test_a_passkey_is_refused_with(browser: Client, user: User, fault: str) -> None:
    device = Device()
    add_passkey(browser, device)
    match fault:
        case "no fingerprint":
            device.verifies_the_user = False
        case "another origin":
            device.origin = "https://evil.example"
        case "another key":
            device.key = Device().key
        case "somebody else":
            device.user_handle = str(make_user("bob").pk).encode()
        case "inactive":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "locked":
            User.objects.filter(pk=user.pk).update(locked_at=timezone.now())
    stranger = Client(SERVER_NAME="localhost")
    response = sign_in_with(device, stranger)
    assert not is_in(stranger)
    if fault in {"inactive", "locked"}:
        assert SENTENCE in response.content.decode()
    else:
        assert response["Location"] == "/accounts/login/"


FORGED = [
    *(
        "",
        "null",
        "5",
        "[]",
        "[1]",
        '"x"',
        "{}",
        '{"id": 1}',
        "{",
        '{"id": "x\\u0000"}',
        '{"response": 1}',
        "[" * 50_000,
    ),
    '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"userHandle": 5}}',
    '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "A", "attestationObject": "AA"}}',
    '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "AA", "authenticatorData": "AA", '
    '"signature": "AA", "userHandle": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}}',
]


@pytest.mark.parametrize("sent", FORGED, ids=range(len(FORGED)))
def test_a_forged_credential_is_refused_and_breaks_nothing(browser: Client, sent: str) -> None:
    stranger = Client(SERVER_NAME="localhost")
    stranger.get("/accounts/2fa/webauthn/login/", headers={"accept": "application/json"})
    response = stranger.post("/accounts/2fa/webauthn/login/", {"credential": sent})
    assert response["Location"] == "/accounts/login/"
    confirm(browser, "/accounts/2fa/webauthn/add/")
    assert browser.post("/accounts/2fa/webauthn/add/", {"credential": sent, "name": "x"}).status_code == 200
    assert not Authenticator.objects.exists()


def test_a_device_s_answer_with_bytes_changed_breaks_nothing(browser: Client) -> None:
    device = Device()
    page = confirm(browser, "/accounts/2fa/webauthn/add/")
    credential = device.register(page.context["js_data"]["creation_options"])
    attestation = credential["response"]["attestationObject"]
    for place in range(0, len(attestation), 7):
        broken = attestation[:place] + ("B" if attestation[place] != "B" else "C") + attestation[place + 1 :]
        sent = {**credential, "response": {**credential["response"], "attestationObject": broken}}
        form = {"credential": json.dumps(sent), "name": "x", "passwordless": "on"}
        assert browser.post("/accounts/2fa/webauthn/add/", form).status_code in {200, 302}


def test_a_passkey_is_renamed_and_removed(browser: Client, user: User) -> None:
    device = Device()
    add_passkey(browser, device)
    key = Authenticator.objects.get(type="webauthn")
    where = f"/accounts/2fa/webauthn/keys/{key.pk}"
    assert browser.post(f"{where}/edit/?next=/accounts/2fa/", {"name": "Blue key"})["Location"] == "/accounts/2fa/"
    assert b"Blue key" in browser.get("/accounts/2fa/").content
    assert browser.post(f"{where}/edit/", {"name": "a\u202eb"}).status_code == 200
    assert b"Remove the passkey?" in browser.get(f"{where}/remove/").content
    stranger = Client()
    stranger.force_login(make_user("bob"))
    for page in ("edit", "remove"):
        assert stranger.post(f"{where}/{page}/", {"name": "mine"}).status_code in {302, 404}
    assert Authenticator.objects.filter(pk=key.pk).exists()
    browser.post(f"{where}/remove/?next=/accounts/2fa/")
    assert not has_second_factor(user)
    assert not Authenticator.objects.exists()  # codes alone are no factor
    removed = Client(SERVER_NAME="localhost")
    sign_in_with(device, removed)
    assert not is_in(removed)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1:8000", "http://localhost:8000/accounts/2fa/webauthn/add/"),
        ("[::1]:8000", "http://localhost:8000/accounts/2fa/webauthn/add/"),
        ("localhost:8000", ""),
    ],
)
def test_at_an_ip_number_the_page_says_where_passkeys_work(browser: Client, host: str, said: str) -> None:
    text = confirm(browser, "/accounts/2fa/webauthn/add/").content.decode()
    text = browser.get("/accounts/2fa/webauthn/add/", headers={"host": host}).content.decode()
    assert ("do not work at" in text) == bool(said)
    assert said in text
    assert ('id="passkey-add"' in text) == (not said)


def test_who_has_no_second_factor_is_counted(browser: Client, user: User) -> None:
    bob = make_user("bob")
    assert set(without_second_factor(User.objects.all())) == {user, bob}
    set_up_app(browser)
    assert set(without_second_factor(User.objects.all())) == {bob}
    assert not has_second_factor(bob)
