"""Nobody gets in after 90 days without sign-in, by any way, whether or not a sweep ran; and the way back in."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from allauth.account.internal.flows.login import perform_login
from allauth.account.models import Login
from allauth.core import context
from allauth.mfa.totp.internal import auth as totp
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import lockout
from accounts.impersonation import SESSION_KEY
from accounts.models import AuditEvent, Membership, User
from accounts.permissions import WorkspaceRole
from accounts.services_impersonation import start_impersonation
from portal import asgi, events
from tests.factories import (
    PASSWORD,
    actor,
    add_to_workspace,
    make_organization,
    make_user,
    make_workspace,
    stay_away,
)
from tests.fakes import Clock

SENTENCE = "User is locked out. To unlock user, please contact your administrators"
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
_hosts = itertools.count(1)
pytestmark = pytest.mark.django_db


def new_browser() -> Client:
    """From an address of its own, as sign-in is limited by address."""
    return Client(REMOTE_ADDR=f"10.250.{next(_hosts) // 250}.{next(_hosts) % 250 + 1}")


@pytest.fixture
def browser() -> Client:
    return new_browser()


def born(clock: Clock, **fields: Any) -> User:
    """Somebody who signed in just now."""
    user = make_user("dora")
    User.objects.filter(pk=user.pk).update(**{"date_joined": clock(), "last_login": clock(), **fields})
    user.refresh_from_db()
    return user


def sign_in(browser: Client, user: User, password: str = PASSWORD) -> Any:
    return browser.post("/accounts/login/", {"login": user.email, "password": password})


def is_the_page(response: Any) -> bool:
    """The sentence, alone, with a status that says no."""
    text = response.content.decode()
    return response.status_code == 403 and f"<div data-error-message>{SENTENCE}</div>" in text


def signed_in(browser: Client) -> bool:
    return "_auth_user_id" in browser.session


# --- the rule -------------------------------------------------------------------------------------------------------


def both_say(user: User, now: datetime) -> bool:
    """Whether somebody is locked, as the rule and the condition on rows agree."""
    in_rows = User.objects.locked(now).filter(pk=user.pk).exists()
    assert in_rows == lockout.is_locked(user, now)
    assert User.objects.usable(now).filter(pk=user.pk).exists() == (not in_rows)
    return in_rows


def test_ninety_days_are_not_too_long_and_a_microsecond_more_is(clock: Clock) -> None:
    user = born(clock)
    assert not both_say(user, clock() + 90 * DAY)
    assert both_say(user, clock() + 90 * DAY + TICK)


def test_a_leap_day_is_a_day(clock: Clock) -> None:
    user = born(clock, date_joined=datetime(2024, 1, 1, tzinfo=UTC), last_login=datetime(2027, 12, 15, 12, tzinfo=UTC))
    ends = datetime(2028, 3, 14, 12, tzinfo=UTC)  # 2028 has a 29 February
    assert lockout.locks_at(user) == ends
    assert not both_say(user, ends)
    assert both_say(user, ends + TICK)


def test_days_count_from_joining_where_nobody_ever_signed_in(clock: Clock) -> None:
    user = born(clock, last_login=None)
    assert not both_say(user, clock() + 90 * DAY)
    assert both_say(user, clock() + 90 * DAY + TICK)


def test_a_mark_locks_however_young_it_is(clock: Clock) -> None:
    assert both_say(born(clock, locked_at=clock()), clock())


def test_the_operator_may_choose_another_number_of_days(clock: Clock, settings: Settings) -> None:
    settings.PORTAL_DORMANCY_DAYS = 30
    user = born(clock)
    assert not both_say(user, clock() + 30 * DAY)
    assert both_say(user, clock() + 30 * DAY + TICK)


NOW = datetime(2028, 3, 1, tzinfo=UTC)
ABOUT_THE_LIMIT = st.integers(-2, 2).map(lambda n: NOW - 90 * DAY + n * TICK)
ANY_TIME = st.datetimes(datetime(2027, 1, 1), datetime(2028, 3, 1)).map(lambda at: at.replace(tzinfo=UTC))
AT = ABOUT_THE_LIMIT | ANY_TIME


@hypothesis_settings(max_examples=200, deadline=None)
@given(joined=AT, last=st.none() | AT, unlocked=st.none() | AT, locked=st.none() | AT)
def _agree(user: User, joined: datetime, last: Any, unlocked: Any, locked: Any) -> None:
    fields = {"date_joined": joined, "last_login": last, "unlocked_at": unlocked, "locked_at": locked}
    User.objects.filter(pk=user.pk).update(**fields)
    user.refresh_from_db()
    latest = max(at for at in (joined, last, unlocked) if at)
    assert both_say(user, NOW) == (locked is not None or NOW - latest > timedelta(days=90))


def test_the_rule_and_the_condition_on_rows_are_one() -> None:
    _agree(make_user())


# --- signing in -----------------------------------------------------------------------------------------------------


def test_the_password_is_right_and_the_answer_is_the_sentence(browser: Client) -> None:
    user = stay_away(make_user(), days=91)
    assert is_the_page(sign_in(browser, user))
    assert not signed_in(browser)
    user.refresh_from_db()
    assert user.locked_at  # no sweep ran
    event = AuditEvent.objects.get(verb="user.lock")
    assert (event.actor_kind, event.organization, event.object_id) == ("system", None, str(user.pk))
    assert is_the_page(sign_in(browser, user))
    assert AuditEvent.objects.filter(verb="user.lock").count() == 1


def test_a_wrong_password_tells_nothing_of_the_lock(browser: Client) -> None:
    user = stay_away(make_user(), days=91)
    wrong = sign_in(browser, user, "not it")
    unknown = browser.post("/accounts/login/", {"login": "nobody@example.org", "password": "not it"})
    assert wrong.status_code == unknown.status_code
    assert str(wrong.context["form"].errors) == str(unknown.context["form"].errors)
    assert SENTENCE not in wrong.content.decode()


def test_the_boundary_at_the_sign_in_form(browser: Client, clock: Clock) -> None:
    user = born(clock)
    clock.move(days=90)
    assert sign_in(browser, user)["Location"] == "/"
    late = born(clock)
    clock.move(days=90, microseconds=1)
    assert is_the_page(sign_in(Client(REMOTE_ADDR="10.251.0.1"), late))


def test_who_was_shut_out_by_staff_gets_the_same_page(browser: Client) -> None:
    assert is_the_page(sign_in(browser, make_user(is_active=False)))


def test_a_new_password_unlocks_nobody(browser: Client) -> None:
    user = stay_away(make_user(), days=91)
    browser.post("/accounts/password/reset/", {"email": user.email})
    user.set_password("a better engine")
    user.save(update_fields=["password"])
    assert is_the_page(sign_in(browser, user, "a better engine"))


def fresh_request() -> Any:
    request = RequestFactory().get("/")
    request.session = SessionStore()
    request.user = AnonymousUser()
    return request


@pytest.mark.parametrize("method", ["webauthn", "socialaccount", "code"])
def test_whatever_proved_who_they_are_the_lock_comes_after(method: str) -> None:
    """Passkeys, single sign-on and codes end in this function of allauth's, as passwords do."""
    user = stay_away(make_user(), days=91)
    request = fresh_request()
    request.session["account_authentication_methods"] = [{"method": method}]
    with context.request_context(request):
        response = perform_login(request, Login(user=user))
    assert is_the_page(response)
    assert not dict(request.session)  # nothing of the attempt is remembered


def with_second_factor(user: User) -> None:
    totp.TOTP.activate(user, totp.generate_totp_secret())


def test_the_lock_comes_before_the_second_factor(browser: Client) -> None:
    user = stay_away(make_user(), days=91)
    with_second_factor(user)
    assert is_the_page(sign_in(browser, user))
    assert browser.get("/accounts/2fa/authenticate/")["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("change", [{"locked_at": NOW}, {"is_active": False}])
def test_a_lock_between_the_password_and_the_second_factor_holds(
    browser: Client, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    user = make_user()
    with_second_factor(user)
    assert sign_in(browser, user)["Location"] == "/accounts/2fa/authenticate/"
    User.objects.filter(pk=user.pk).update(**change)
    monkeypatch.setattr(totp, "validate_totp_code", lambda *_: True)
    assert is_the_page(browser.post("/accounts/2fa/authenticate/", {"code": "123456"}))
    assert not signed_in(browser)


# --- sessions that remember -----------------------------------------------------------------------------------------


def remembered(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def acting(staff: User, person: User) -> Client:
    """A browser in which staff acts as somebody."""
    browser = remembered(staff)
    session = browser.session
    session[SESSION_KEY] = start_impersonation(actor=actor(staff), person=person, reason="Ticket 1").pk
    session.save()
    return browser


def test_a_remembered_session_ends_with_the_sentence() -> None:
    user = make_user()
    organization = make_organization(user)
    browser = remembered(user)
    stay_away(user, days=91)
    assert is_the_page(browser.get(f"/o/{organization.pk}/people/"))
    assert not signed_in(browser)
    assert browser.get(f"/o/{organization.pk}/people/").status_code == 302
    assert browser.get("/").status_code == 200  # as anybody


def test_nothing_is_written_with_it() -> None:
    user = make_user()
    browser = remembered(user)
    stay_away(user, days=91)
    assert is_the_page(browser.post("/organizations/new/", {"name": "Initech"}))
    assert not Membership.objects.exists()


def test_staff_who_act_as_somebody_must_not_be_locked_themselves() -> None:
    staff, person = make_user("staff", is_staff=True, is_superuser=True), make_user()
    organization = make_organization(person)
    browser = acting(staff, person)
    assert browser.get(f"/o/{organization.pk}/people/").status_code == 200
    stay_away(staff, days=91)
    assert is_the_page(browser.get(f"/o/{organization.pk}/people/"))
    assert not signed_in(browser)


# --- streams and uploads --------------------------------------------------------------------------------------------


@pytest.fixture
def stream_ends(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the stream at an address, and returns the question that it asks while it runs."""
    asked: list[Any] = []

    def stream(_: object, allowed: Any) -> Any:
        asked.append(allowed)
        return HttpResponse()

    monkeypatch.setattr(events, "stream", stream)

    def opened(browser: Client, address: str) -> Any:
        browser.get(address)
        return async_to_sync(asked.pop())

    return opened


def test_streams_end_when_their_reader_is_locked(stream_ends: Any) -> None:
    user = make_user()
    organization = make_organization(user)
    workspace = make_workspace(organization)
    browser = remembered(user)
    for address in (f"/o/{organization.pk}/events/", f"/w/{workspace.pk}/events/"):
        still_allowed = stream_ends(browser, address)
        assert still_allowed()
        User.objects.filter(pk=user.pk).update(locked_at=NOW)
        assert not still_allowed()
        User.objects.filter(pk=user.pk).update(locked_at=None)


def test_streams_of_staff_who_act_as_somebody_end_when_they_are_locked_themselves(stream_ends: Any) -> None:
    staff, person = make_user("staff", is_staff=True, is_superuser=True), make_user()
    organization = make_organization(person)
    browser = acting(staff, person)
    still_allowed = stream_ends(browser, f"/o/{organization.pk}/events/")
    assert still_allowed()
    User.objects.filter(pk=staff.pk).update(locked_at=NOW)
    assert not still_allowed()


def test_large_uploads_are_not_kept_for_the_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "close_old_connections", lambda: None)  # the test's transaction lives on this one
    user = make_user()
    workspace = make_workspace(make_organization())
    add_to_workspace(workspace, user, WorkspaceRole.DEVELOPER)
    browser = remembered(user)
    cookie = f"sessionid={browser.cookies['sessionid'].value}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": reverse("workspaces:files_upload", args=[workspace.pk]),
        "headers": [(b"cookie", cookie)],
        "query_string": b"",
    }
    assert asgi._uploader(scope, str(workspace.pk))
    stay_away(user, days=91)
    assert not asgi._uploader(scope, str(workspace.pk))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_session_may_not_outlast_the_window() -> None:
    """Somebody who works every day would be locked by surprise."""
    environment = {**os.environ, "PORTAL_DORMANCY_DAYS": "14"}
    program = "import django; django.setup()"
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "PORTAL_SESSION_DAYS must be less" in run.stderr
