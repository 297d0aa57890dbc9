"""What an event keeps: who, what changed, and never a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.test import RequestFactory

from accounts import audit
from accounts.audit_detail import LONGEST, MASKED, Line, difference, lines, recordable
from accounts.models import AuditEvent, Organization
from tests.factories import actor, add_to_organization, make_organization, make_user


@pytest.fixture
def acme(db: None) -> Organization:
    return make_organization(name="Acme")


def note(organization: Organization, **detail: Any) -> AuditEvent:
    event = audit.record(audit.SYSTEM, "a.b", organization, organization=organization, **detail)
    event.refresh_from_db()
    return event


# --- what changed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"before": {"b": 2}, "after": {"b": 3}}),
        ({}, {"a": 1}, {"after": {"a": 1}}),
        ({"a": 1}, {}, {"before": {"a": 1}}),
        ({"a": None}, {}, {"before": {"a": None}}),
        ({"a": 1}, {"b": 1}, {"before": {"a": 1}, "after": {"b": 1}}),
        ({"a": 1}, {"a": 1}, {}),
        ({"tags": {"x": 1}}, {"tags": {"x": 2}}, {"before": {"tags": {"x": 1}}, "after": {"tags": {"x": 2}}}),
    ],
)
def test_only_what_differs_is_kept(before: dict[str, Any], after: dict[str, Any], kept: dict[str, Any]) -> None:
    assert difference(before, after) == kept


def test_an_event_has_both_sides_and_the_rest(acme: Organization) -> None:
    event = note(acme, before={"role": "ADMIN", "name": "x"}, after={"role": "OWNER", "name": "x"}, reason="asked")
    assert event.detail == {"before": {"role": "ADMIN"}, "after": {"role": "OWNER"}, "reason": "asked"}


def test_ordinary_python_values_can_be_kept(acme: Organization) -> None:
    at = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
    event = note(acme, at=at, id=UUID(int=1), price=Decimal("1.50"), names={"b"}, pair=(1, None), on=True)
    assert event.detail == {
        "at": "2026-11-24T05:00:00Z",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.50",
        "names": ["b"],
        "pair": [1, None],
        "on": True,
    }


@pytest.mark.parametrize("text", ["a\0b", "a\udc80b", "x" * 100_000])
def test_no_text_keeps_an_event_from_being_written(acme: Organization, text: str) -> None:
    acme.name = text
    event = note(acme, file=text, odd={text: text})
    assert len(event.detail["file"]) <= LONGEST
    assert len(event.object_label) <= 300


# --- never a secret -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Password", "new_password", "passphrase", "client_secret", "clientSecret", "API_KEY", "key"),
        *("secretAccessKey", "access_token", "token", "Authorization", "private-key", "set.cookie", "recovery_codes"),
    ],
)
def test_values_of_secret_names_are_masked_wherever_they_are(acme: Organization, name: str) -> None:
    secret = "hunter2-hunter2"
    inner = {name: secret, "list": [{name: secret}]}
    event = note(acme, before=inner, after={**inner, name: "hunter3"}, **{name: secret, "deep": {"deeper": inner}})
    assert "hunter" not in str(event.detail)
    assert event.detail["after"] == {name: MASKED}
    assert event.detail[name] == MASKED


@pytest.mark.parametrize(
    "name", ["secret_name", "token_prefix", "environment_keys", "keyboard", "tokens_revoked", "password_set", "monkey"]
)
def test_names_that_only_speak_of_secrets_are_not(name: str) -> None:
    assert recordable({name: "value"}) == {name: "value"}


def test_whether_there_is_a_secret_may_be_known() -> None:
    assert recordable({"password": "", "token": None, "secret": True}) == {
        "password": "",
        "token": None,
        "secret": True,
    }


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "AKIAIOSFODNN7EXAMPLE",
        f"curl -u bodo_id_1:bodo_secret_{'5e' * 32}",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
        "ghp_0123456789abcdefghij0123456789abcdef",
    ],
)
def test_what_looks_like_a_secret_is_masked_under_any_name(text: str) -> None:
    assert recordable({"note": text, "list": [text]}) == {"note": MASKED, "list": [MASKED]}


def test_an_address_loses_the_user_in_it() -> None:
    assert recordable("https://alice:hunter2@example.org/x.git") == f"https://{MASKED}@example.org/x.git"
    assert recordable("https://example.org/@alice") == "https://example.org/@alice"


# --- who ------------------------------------------------------------------------------------------------------------


def test_each_kind_of_actor(acme: Organization) -> None:
    alice, root = make_user("alice"), make_user("root")
    request = RequestFactory().post("/", REMOTE_ADDR="10.0.0.7")
    request.user = alice
    plain = audit.actor_of(request)
    request.impersonation = SimpleNamespace(staff=root)  # type: ignore[attr-defined]
    acting = audit.actor_of(request)
    actors = [plain, acting, audit.token("nightly", "bodo_4f2a", "10.0.0.8"), audit.system("auto-pause")]
    events = [audit.record(who, "a.b", acme, organization=acme) for who in actors]
    assert [(event.actor_kind, event.actor_label, event.actor_user, event.address) for event in events] == [
        ("user", f"Alice Example <{alice.email}>", alice, "10.0.0.7"),
        ("staff", f"Staff Root Example <{root.email}> as Alice Example <{alice.email}>", root, "10.0.0.7"),
        ("token", "API token nightly (bodo_4f2a)", None, "10.0.0.8"),
        ("system", "Bodo Cloud Platform (auto-pause)", None, None),
    ]
    assert acting.user == alice, "what they make is Alice's"


def test_an_event_about_a_person_is_in_each_of_their_organizations(acme: Organization) -> None:
    alice = make_user("alice")
    globex = make_organization(alice)
    add_to_organization(acme, alice, "MEMBER")  # type: ignore[arg-type]
    audit.record_about(actor(alice), "user.x", alice, why="y")
    assert set(AuditEvent.objects.values_list("organization", flat=True)) == {acme.pk, globex.pk}
    bob = make_user("bob")
    audit.record_about(actor(bob), "user.x", bob)
    assert AuditEvent.objects.get(object_id=str(bob.pk)).organization is None


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_detail_is_read_as_changes_and_facts() -> None:
    detail = {
        "before": {"instances": 2, "tags": {"team": "a"}, "description": ""},
        "after": {"instances": 4, "tags": {}, "description": "x", "spot": True},
        "environment_keys": ["A", "B"],
        "reason": None,
    }
    assert lines(detail) == [
        Line("instances", "2", "4", changed=True),
        Line("tags", "team=a", "–", changed=True),
        Line("description", "–", "x", changed=True),
        Line("spot", None, "yes", changed=True),
        Line("environment keys", None, "A, B", changed=False),
    ]  # and nothing of a reason that nobody gave


def test_events_of_an_earlier_form_can_be_read() -> None:
    assert lines({"before": "old", "after": "new"}) == [Line("", "old", "new", changed=True)]
    assert lines({"before": 1, "after": None}) == [Line("", "1", None, changed=True)]
