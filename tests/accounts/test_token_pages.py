"""API tokens, as people make them, see them and revoke them."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import audit, services_tokens
from accounts.audit import SYSTEM
from accounts.models import ApiToken, AuditEvent, Membership, Organization, User
from accounts.permissions import OrganizationRole
from portal.errors import PermissionNeededError, UserError
from tests.accounts.test_tokens import OTHER, browser_of, enter, make, refusal
from tests.factories import (
    add_to_organization,
    make_organization,
    make_token,
    make_user,
    make_workspace,
    stay_away,
)
from tests.fakes import Clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


# --- making them ----------------------------------------------------------------------------------------------------

WIDE = {
    OrganizationRole.OWNER: {"OWNER", "ADMIN", "BILLING", "MEMBER"},
    OrganizationRole.ADMIN: {"ADMIN", "MEMBER"},  # BILLING manages budgets, which ADMIN does not
}


@pytest.mark.parametrize("own", WIDE)
@pytest.mark.parametrize("role", OrganizationRole)
def test_nobody_makes_a_token_with_a_wider_role_than_their_own(own: OrganizationRole, role: OrganizationRole) -> None:
    maker, organization = make_user(), make_organization()
    add_to_organization(organization, maker, own)
    new = reverse("accounts:token_new", args=[organization.pk])
    response = browser_of(maker).post(new, form(role=role))
    if role in WIDE[own]:
        assert response.status_code == 200
        make(maker, organization, role=role)
    else:
        assert "Select a valid choice" in error_beside(response, "role")
        with pytest.raises(UserError, match="RoleTooWide"):
            make(maker, organization, role=role)
        assert not ApiToken.objects.exists()


def test_a_role_that_changed_after_the_form_was_shown_counts(alice: User, acme: Organization) -> None:
    Membership.objects.filter(user=alice).update(role=OrganizationRole.BILLING)
    with pytest.raises(PermissionNeededError):
        make(alice, acme, role=OrganizationRole.MEMBER)
    Membership.objects.filter(user=alice).delete()
    with pytest.raises(PermissionNeededError):
        make(alice, acme, role=OrganizationRole.MEMBER)


def test_only_people_make_tokens_and_only_for_themselves(alice: User, acme: Organization) -> None:
    by = {"system": SYSTEM, "token": audit.token("x", "bodo_id_x", None), "staff": audit.staff_of(staff_request(alice))}
    for who in by.values():
        with pytest.raises(UserError, match="PersonNeeded"):
            services_tokens.create_token(
                actor=who,
                pk=uuid.uuid4(),
                organization=acme,
                name="x",
                role=OrganizationRole.MEMBER,
                expires_at=datetime.now(UTC) + timedelta(days=1),
            )


def staff_request(user: User) -> Any:
    class Request:
        META = {"REMOTE_ADDR": "10.0.0.1"}

    request = Request()
    request.user = user  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize("days", [None, -1, 0, 365.01, 4000])
def test_the_service_makes_no_token_that_lasts_too_long(alice: User, acme: Organization, days: float | None) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    with pytest.raises(UserError, match="ExpiryNotAllowed"):
        make(alice, acme, expires_at=expires_at)


def test_an_operator_may_allow_tokens_without_end(alice: User, acme: Organization, settings: Settings) -> None:
    new = reverse("accounts:token_new", args=[acme.pk])
    assert "Select a valid choice" in error_beside(browser_of(alice).post(new, form(lifetime="never")), "lifetime")
    settings.PORTAL_TOKENS_WITHOUT_EXPIRY = True
    assert browser_of(alice).post(new, form(lifetime="never")).status_code == 200
    assert ApiToken.objects.get().expires_at is None


# --- the pages ------------------------------------------------------------------------------------------------------


def form(**changes: Any) -> dict[str, Any]:
    values = {"id": uuid.uuid4(), "name": "nightly", "role": "ADMIN", "lifetime": "30", "expires_on": ""}
    return {**values, **changes}


def secret_on(response: Any) -> str:
    """The secret that a page shows, in a field that can be selected by hand."""
    assert response.status_code == 200
    text = response.content.decode()
    (found,) = re.findall(r'<input [^>]*id="token-secret"[^>]* readonly value="(bodo_secret_[0-9a-f]{64})"', text)
    return str(found)


def error_beside(response: Any, field: str) -> str:
    assert response.status_code == 422
    return str(response.context["form"].errors[field][0])


def test_the_secret_is_shown_once(alice: User, acme: Organization) -> None:
    browser, new = browser_of(alice), reverse("accounts:token_new", args=[acme.pk])
    sent = form()
    response = browser.post(new, sent)
    secret = secret_on(response)
    assert response["Cache-Control"] == "no-store"
    token = ApiToken.objects.get()
    assert token.client_id in response.content.decode()
    assert enter(token.client_id, secret).token == token

    again = browser.post(new, sent)  # a reload sends the form once more
    assert again["Location"] == reverse("accounts:tokens", args=[acme.pk])
    page = browser.get(again["Location"]).content.decode()
    assert "shown once" in page
    assert token.client_id in page
    assert "bodo_secret_" not in page
    assert ApiToken.objects.get() == token
    assert enter(token.client_id, secret).token == token


def test_the_drawer_shows_the_secret_and_refreshes_the_list_behind_it(alice: User, acme: Organization) -> None:
    new = reverse("accounts:token_new", args=[acme.pk])
    response = browser_of(alice).post(new, form(), headers={"hx-request": "true"})
    assert secret_on(response)
    assert response["HX-Trigger"] == "token-made"
    assert "<html" not in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_form_sent_twice_at_once_makes_one_token() -> None:
    alice = make_user()
    acme = make_organization(alice)
    sent, new, gate = form(), reverse("accounts:token_new", args=[acme.pk]), threading.Barrier(2)
    browsers, statuses = [browser_of(alice), browser_of(alice)], []

    def send(browser: Client) -> None:
        try:
            gate.wait()
            statuses.append(browser.post(new, sent).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[browser]) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 302]
    assert ApiToken.objects.count() == 1


def test_a_day_lasts_until_it_is_over(alice: User, acme: Organization, clock: Clock) -> None:
    clock.at = datetime(2027, 3, 1, 23, 30, tzinfo=UTC)
    stay_away(alice, days=0)
    browser, new = browser_of(alice), reverse("accounts:token_new", args=[acme.pk])
    for day, ends in (
        ("2027-03-01", datetime(2027, 3, 2, tzinfo=UTC)),
        ("2028-02-28", datetime(2028, 2, 29, tzinfo=UTC)),  # 365 days, less half an hour
    ):
        assert browser.post(new, form(expires_on=day)).status_code == 200
        assert ApiToken.objects.order_by("-number")[0].expires_at == ends
    for day in ("2027-02-28", "2028-02-29", "9999-12-31", "0001-01-01", "soon"):
        assert error_beside(browser.post(new, form(expires_on=day)), "expires_on")


def test_the_list_says_how_each_token_stands(alice: User, acme: Organization, clock: Clock) -> None:
    bob, carol, dave = make_user("bob"), make_user("carol"), make_user("dave")
    for person in (bob, carol, dave):
        add_to_organization(acme, person, OrganizationRole.ADMIN)
    made = {
        "ACTIVE": make_token(alice, acme),
        "REVOKED": make_token(alice, acme, revoked_at=clock()),
        "EXPIRED": make_token(alice, acme, expires_at=clock()),
        "LOCKED": make_token(bob, acme),
        "NO ACCESS": make_token(carol, acme),
    }
    limited = make_token(dave, acme)
    stay_away(bob, days=91)
    Membership.objects.filter(user=carol).delete()
    Membership.objects.filter(user=dave).update(role=OrganizationRole.MEMBER)
    make_token(alice, acme, workspace=make_workspace(acme))
    response = browser_of(alice).get(reverse("accounts:tokens", args=[acme.pk]))
    states = {token: state for token, state, _ in response.context["rows"]}
    assert states == {**{token: state for state, token in made.items()}, limited: "ACTIVE"}  # less is not nothing
    text = response.content.decode()
    assert text.count(">Revoke</button>") == 5


def test_without_tokens_the_page_says_what_they_are_for(alice: User, acme: Organization) -> None:
    text = browser_of(alice).get(reverse("accounts:tokens", args=[acme.pk])).content.decode()
    assert "Programs sign in with a token" in text
    assert reverse("accounts:token_new", args=[acme.pk]) in text


def test_revoking_from_the_page(alice: User, acme: Organization) -> None:
    token = make_token(alice, acme)
    where = reverse("accounts:token_revoke", args=[acme.pk, token.pk])
    for _ in range(2):  # two people at once
        assert browser_of(alice).post(where)["Location"] == reverse("accounts:tokens", args=[acme.pk])
    assert refusal(token.client_id).code == "TokenRevoked"
    assert AuditEvent.objects.filter(verb="api_token.revoke").count() == 1


def test_a_token_of_a_workspace_is_not_found_in_the_organization(alice: User, acme: Organization) -> None:
    token = make_token(alice, acme, workspace=make_workspace(acme))
    assert browser_of(alice).post(reverse("accounts:token_revoke", args=[acme.pk, token.pk])).status_code == 404


def test_markup_in_a_name_is_text(alice: User, acme: Organization) -> None:
    browser = browser_of(alice)
    markup = '"><script>alert(1)</script>'
    made = browser.post(reverse("accounts:token_new", args=[acme.pk]), form(name=markup))
    listed = browser.get(reverse("accounts:tokens", args=[acme.pk]))
    for response in (made, listed):
        assert "&lt;script&gt;alert" in response.content.decode()
        assert "<script>alert" not in response.content.decode()


def test_the_secret_is_in_no_event_log_or_session(
    alice: User, acme: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = browser_of(alice)
    secret = secret_on(browser.post(reverse("accounts:token_new", args=[acme.pk]), form()))
    token = ApiToken.objects.get()
    enter(token.client_id, secret)
    refusal(token.client_id, OTHER)
    told = f"{list(AuditEvent.objects.values())} {caplog.text} {dict(browser.session)} {browser.cookies}"
    assert secret.removeprefix("bodo_secret_") not in told
    assert token.secret_hash not in told
    event = AuditEvent.objects.get(verb="api_token.create")
    assert event.detail["client_id"] == token.client_id
    assert event.detail["role"] == "Admin"
