"""The browsers in which somebody is signed in: seen, ended, and ending by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from asgiref.sync import async_to_sync
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from pytest_django import Settings

from accounts import sessions
from accounts.access import enter
from accounts.models import AuditEvent, User
from tests.factories import PASSWORD, make_organization, make_session, make_user
from tests.fakes import Clock

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Safari/604.1"
pytestmark = pytest.mark.django_db


def signed_in(user: User, **meta: Any) -> Client:
    browser = Client(**meta)
    browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert browser.session["_auth_user_id"] == str(user.pk)
    return browser


def is_in(browser: Client) -> bool:
    return browser.get("/organizations/new/").status_code == 200


@pytest.fixture
def user() -> User:
    return make_user()


@pytest.fixture
def here(user: User) -> Client:
    return signed_in(user, REMOTE_ADDR="10.1.0.1", HTTP_USER_AGENT=FIREFOX)


@pytest.fixture
def phone(user: User) -> Client:
    return signed_in(user, REMOTE_ADDR="10.1.0.2", HTTP_USER_AGENT=PHONE)


def number_of(browser: Client) -> int:
    return int(UserSession.objects.get(session_key=browser.session.session_key).pk)


def test_the_list_says_which_browser_where_and_when(here: Client, phone: Client) -> None:
    text = here.get("/accounts/sessions/").content.decode()
    for part in ("Firefox on Linux", "10.1.0.1", "Safari on iPhone", "10.1.0.2", "Sign out all others"):
        assert part in text
    this, other = text.index("this one"), text.index("Safari on iPhone")
    assert text.count("this one") == 1
    assert abs(text.index("Firefox on Linux") - this) < abs(other - this)


def test_one_browser_is_signed_out_and_the_others_stay(user: User, here: Client, phone: Client) -> None:
    third = signed_in(user)
    response = here.post(f"/sessions/{number_of(phone)}/end/")
    assert response["Location"] == "/accounts/sessions/"
    assert not is_in(phone)
    assert is_in(here)
    assert is_in(third)
    event = AuditEvent.objects.get(verb="session.end")
    assert event.detail == {"address": "10.1.0.2", "browser": PHONE}
    assert event.address == "10.1.0.1"


def test_all_others_are_signed_out_at_once(user: User, here: Client, phone: Client) -> None:
    third = signed_in(user)
    here.post("/accounts/sessions/")
    assert [is_in(browser) for browser in (here, phone, third)] == [True, False, False]
    assert AuditEvent.objects.filter(verb="session.end").count() == 2
    assert "Sign out all others" not in here.get("/accounts/sessions/").content.decode()


def test_nobody_ends_the_session_of_another_or_the_one_in_hand(here: Client, user: User) -> None:
    stranger = signed_in(make_user("bob"))
    assert here.post(f"/sessions/{number_of(stranger)}/end/").status_code == 302
    assert here.post(f"/sessions/{number_of(here)}/end/").status_code == 302
    assert is_in(stranger)
    assert is_in(here)
    assert not AuditEvent.objects.filter(verb="session.end").exists()


def test_a_new_password_ends_the_other_sessions(user: User, here: Client, phone: Client) -> None:
    new = "a better engine of brass"
    form = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert here.post("/accounts/password/change/", form).status_code == 302
    assert is_in(here)
    assert not is_in(phone)


def test_use_is_noted_once_a_minute_with_its_address(here: Client, clock: Clock) -> None:
    line = UserSession.objects.get()
    clock.move(minutes=10)
    here.get("/organizations/new/", REMOTE_ADDR="10.9.9.9", HTTP_USER_AGENT=PHONE)
    noted = UserSession.objects.get()
    assert (noted.ip, noted.user_agent, noted.last_seen_at) == ("10.9.9.9", PHONE, clock())
    assert noted.created_at == line.created_at
    clock.move(seconds=30)
    here.get("/organizations/new/", REMOTE_ADDR="10.1.0.1")
    assert UserSession.objects.get().last_seen_at == noted.last_seen_at


def test_noting_the_use_undoes_nothing_of_another_request(here: Client, clock: Clock) -> None:
    """Two requests at once: ours read the session before the other wrote into it."""
    mine, theirs = here.session, here.session
    theirs["precious"] = 1
    theirs.save()
    request = RequestFactory().get("/")
    request.session = mine
    clock.move(minutes=5)
    sessions._note(request)
    assert not request.session.modified
    assert here.session["precious"] == 1
    assert here.session[sessions.SEEN] == clock().timestamp()


def test_a_session_left_alone_ends(here: Client, clock: Clock, settings: Settings) -> None:
    settings.PORTAL_SESSION_IDLE_HOURS = 72
    assert is_in(here)
    clock.move(hours=72)
    assert is_in(here)
    clock.move(hours=72, seconds=1)
    response = here.get("/organizations/new/", follow=True)
    assert response.redirect_chain == [("/accounts/login/?next=/organizations/new/", 302)]
    assert "That sign-in has ended" in response.content.decode()
    assert not is_in(here)


def test_a_session_in_constant_use_ends_as_well(here: Client, clock: Clock, settings: Settings) -> None:
    settings.PORTAL_SESSION_DAYS = 2
    assert is_in(here)
    for _ in range(24):
        clock.move(hours=2)
        assert is_in(here)
    clock.move(seconds=1)
    assert not is_in(here)


def test_what_has_expired_is_removed(user: User, here: Client, phone: Client, clock: Clock) -> None:
    Session.objects.filter(session_key=phone.session.session_key).update(expire_date=clock())
    fresh = make_session(user)  # its session may be about to be saved
    clock.move(minutes=61)
    make_session(user, created_at=clock())
    sessions.sweep()
    assert list(Session.objects.values_list("session_key", flat=True)) == [here.session.session_key]
    kept = set(UserSession.objects.values_list("session_key", flat=True))
    assert here.session.session_key in kept
    assert len(kept) == 2
    assert fresh.session_key not in kept


# --- open streams ask again -----------------------------------------------------------------------------------------


def allowed(browser: Client, user: User) -> Any:
    """What a stream of that browser asks every 2 s."""
    request = RequestFactory().get("/")
    request.session, request.user = browser.session, user
    organization = make_organization(user)
    return async_to_sync(sessions.still(request, lambda again: enter(again, organization.pk)))


def test_a_stream_goes_on_while_the_session_does(user: User, here: Client) -> None:
    assert allowed(here, user)()


@pytest.mark.parametrize("end", ["ended by its owner", "sign-out", "password", "inactive", "left", "idle"])
def test_a_stream_ends_with(user: User, here: Client, phone: Client, clock: Clock, end: str) -> None:
    goes_on = allowed(phone, user)
    assert goes_on()
    match end:
        case "ended by its owner":
            here.post(f"/sessions/{number_of(phone)}/end/")
        case "sign-out":
            phone.post("/accounts/logout/")
        case "password":
            user.set_password("a better engine of brass")
            user.save()
        case "inactive":
            User.objects.update(is_active=False)
        case "left":
            user.memberships.all().delete()
        case "idle":
            is_in(phone)
            clock.move(days=4)
    assert not goes_on()
