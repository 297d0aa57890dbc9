"""The audit log as a file: exactly what the filter finds, in pieces, and nothing that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse

import portal.export
from accounts import audit, audit_export, audit_search
from accounts.audit_search import Search, Wanted
from accounts.models import AuditEvent, Organization, User
from tests.accounts.test_audit_append_only import seal
from tests.factories import actor, make_organization, make_user


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


@pytest.fixture
def browser(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def export(browser: Client, organization: Organization, kind: str, query: str = "") -> Any:
    return browser.post(reverse("accounts:audit_export", args=[organization.pk]) + query, {"format": kind})


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return b"".join(response).decode()


def rows(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(response), newline="")))


def test_json_has_all_of_each_event(acme: Organization, browser: Client, alice: User) -> None:
    audit.record(actor(alice), "a.b", acme, organization=acme, before={"x": "ü\n"}, after={"x": None})
    seal()
    event = AuditEvent.objects.select_related("seal").get()
    response = export(browser, acme, "jsonl")
    (line,) = text_of(response).splitlines()
    assert json.loads(line) == {
        "sequence": 1,
        "number": event.number,
        "at": f"{event.at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "actor_kind": "user",
        "actor": alice.email,
        "verb": "a.b",
        "object_type": "organization",
        "object_id": str(acme.pk),
        "object": "Acme",
        "address": "127.0.0.1",
        "detail": {"before": {"x": "ü\n"}, "after": {"x": None}},
        "hash": event.seal.hash,
    }
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"].endswith('.jsonl"')


def test_csv_has_the_same(acme: Organization, browser: Client) -> None:
    audit.record(audit.SYSTEM, "a.b", acme, organization=acme, note='comma, "quote"\nline')
    seal()
    response = export(browser, acme, "csv")
    (row,) = rows(response)
    assert list(row) == list(audit_export.COLUMNS)
    assert json.loads(row["detail"]) == {"note": 'comma, "quote"\nline'}
    assert (row["sequence"], row["address"], row["object"]) == ("1", "", "Acme")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="audit-')


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|" /C calc"!A0'])
def test_no_cell_is_a_formula(browser: Client, alice: User, name: str) -> None:
    organization = make_organization(alice, name)
    audit.record(audit.Actor("user", name), "a.b", organization, organization=organization)
    (row,) = rows(export(browser, organization, "csv"))
    assert (row["object"], row["actor"]) == (f"'{name}", f"'{name}")
    assert all(not value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row.values())


def test_exactly_what_is_filtered_in_the_order_of_the_page(
    acme: Organization, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        audit.record(audit.SYSTEM, f"a.{number % 3}", acme, organization=acme, text=f"word{number % 2}")
    globex = make_organization(name="Globex")
    audit.record(audit.SYSTEM, "a.1", globex, organization=globex, text="word1")
    monkeypatch.setattr(Search.batches, "__kwdefaults__", {"size": 2})
    expected = [
        event.number
        for event in AuditEvent.objects.filter(verb="a.1", organization=acme).order_by("-number")
        if event.detail["text"] == "word1"
    ]
    lines = text_of(export(browser, acme, "jsonl", "?verb=a.1&q=word1&before=3")).splitlines()
    assert [json.loads(line)["number"] for line in lines] == expected
    assert len(expected) > 3


def test_an_export_is_an_event_and_not_in_itself(acme: Organization, browser: Client, alice: User) -> None:
    audit.record(audit.SYSTEM, "a.b", acme, organization=acme)
    response = export(browser, acme, "csv", "?verb=a.b&person=bodo&since=2026-01-01T00:00")
    audit.record(audit.SYSTEM, "a.b", acme, organization=acme)
    assert len(rows(response)) == 1, "what came after the click is not in the file"
    event = AuditEvent.objects.get(verb="audit.export")
    assert (event.organization, event.actor_user) == (acme, alice)
    assert event.detail == {
        "format": "csv",
        "filter": {"verb": "a.b", "person": "bodo", "since": "2026-01-01T00:00:00Z"},
    }


@pytest.mark.parametrize(
    ("kind", "query"), [("", ""), ("xlsx", ""), ("csv", "?verb=bogus"), ("csv", "?q=a%00b"), ("jsonl", "?since=soon")]
)
def test_what_is_not_understood_is_not_exported(acme: Organization, browser: Client, kind: str, query: str) -> None:
    response = export(browser, acme, kind, query)
    assert response.status_code == 422
    assert b"FilterNotUnderstood" in response.content
    assert not AuditEvent.objects.exists()


def test_an_export_comes_in_pieces_and_holds_no_connection_between_them(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        audit.record(audit.SYSTEM, "a.b", acme, organization=acme)
    monkeypatch.setattr(Search.batches, "__kwdefaults__", {"size": 4})
    released = []
    monkeypatch.setattr(portal.export, "close_old_connections", lambda: released.append(True))
    monkeypatch.setattr(portal.export, "connection", SimpleNamespace(in_atomic_block=False))

    async def read() -> list[int]:
        return [piece.count(b"\n") async for piece in audit_export.stream(Search(acme, Wanted()), "jsonl", 2**62)]

    assert async_to_sync(read)() == [0, 4, 4, 2]
    assert len(released) == 5


def test_a_search_that_takes_long_is_exported_to_its_end(
    acme: Organization, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_search, "PATIENCE", timedelta(0))
    event = audit.record(audit.SYSTEM, "a.b", acme, organization=acme, text="needle")
    fields = {field.attname: getattr(event, field.attname) for field in event._meta.concrete_fields}
    del fields["text"]
    AuditEvent.objects.bulk_create([AuditEvent(**{**fields, "number": event.number + (3 << 17), "detail": {}})])
    batches = list(Search(acme, Wanted(text="needle")).batches(before=2**62))
    assert [len(batch) for batch in batches if batch] == [1]
    assert len(batches) > 2
