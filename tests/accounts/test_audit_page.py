"""The page of the audit log: its filters, its pages, and what a line says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts import audit, audit_search
from accounts.models import AuditEvent, Organization, User
from accounts.permissions import OrganizationRole
from tests.accounts.test_audit_append_only import seal
from tests.factories import actor, add_to_organization, make_organization, make_user

NOON = datetime(2126, 11, 24, 12, tzinfo=UTC)
"""After all that tests do, on whatever day: numbers of events grow with their times."""


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


def note(organization: Organization, verb: str = "cluster.pause", at: datetime | None = None, **detail: Any) -> int:
    event = audit.record(actor(make_user("bob")), verb, organization, organization=organization, **detail)
    if at:
        AuditEvent.objects.bulk_create([_at(event, at)])
        return event.number + 1
    return event.number


def _at(event: AuditEvent, at: datetime) -> AuditEvent:
    """Another like it, at another time: events cannot be changed."""
    fields = {field.attname: getattr(event, field.attname) for field in event._meta.concrete_fields}
    del fields["text"]
    return AuditEvent(**{**fields, "number": event.number + 1, "at": at})


def look(browser: Client, organization: Organization, query: str = "") -> Any:
    return browser.get(reverse("accounts:audit", args=[organization.pk]) + query)


def shown(response: Any) -> list[int]:
    assert response.status_code == 200
    return [event.number for event in response.context["events"]]


def text_of(response: Any) -> str:
    """What people read, each piece of it apart."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())))


# --- a line ---------------------------------------------------------------------------------------------------------


def test_a_line_says_what_it_was_and_what_it_is(acme: Organization, browser: Client) -> None:
    note(acme, before={"instances": 2, "tags": {"a": "1"}}, after={"instances": 8, "tags": {}}, cluster_name="<etl>")
    text = text_of(look(browser, acme))
    assert "instances was 2 → is now 8 " in text
    assert "tags was a=1 → is now – " in text
    assert "cluster name <etl> " in text
    assert "{'" not in text


def test_a_line_says_who_with_the_address_apart(acme: Organization, browser: Client, alice: User) -> None:
    with_name = audit.person(alice, "10.0.0.7")
    token = audit.token("nightly", "bodo_4f2a", None)
    for who in (with_name, token, audit.system("auto-pause")):
        audit.record(who, "a.b", acme, organization=acme)
    response = look(browser, acme)
    assert [event.actor_parts for event in response.context["events"]] == [
        ("Bodo Cloud Platform (auto-pause)", ""),
        ("API token nightly (bodo_4f2a)", ""),
        ("Alice Example", alice.email),
    ]
    label = "Staff Root <root@example.org> as Alice <alice@example.org>"
    assert AuditEvent(actor_label=label).actor_parts == (label, "")


def test_names_lead_to_their_events_and_keep_the_other_filters(acme: Organization, browser: Client) -> None:
    note(acme)
    content = unescape(look(browser, acme, "?verb=cluster.pause&before=99999999").content.decode())
    links = [parse_qs(urlsplit(link).query) for link in re.findall(r'href="(\?[^"]+)"', content)]
    event = AuditEvent.objects.get()
    assert {"verb": ["cluster.pause"], "person": [event.actor_label]} in links
    assert {"verb": ["cluster.pause"], "object": [str(acme.pk)], "type": ["organization"]} in links
    assert shown(look(browser, acme, f"?object={acme.pk}&type=organization")) == [event.number]


# --- filters --------------------------------------------------------------------------------------------------------


def test_filters_combine(acme: Organization, browser: Client) -> None:
    paused = note(acme, file="apollo.py")
    stopped = note(acme, "cluster.stop", file="apollo.py")
    note(acme, "cluster.stop", file="gemini.py")
    assert shown(look(browser, acme, "?q=apollo")) == [stopped, paused]
    assert shown(look(browser, acme, "?q=apollo&verb=cluster.stop")) == [stopped]
    assert shown(look(browser, acme, "?q=apollo&verb=cluster.stop&person=nobody")) == []
    assert shown(look(browser, acme, "?q=apollo&type=organization&object=ACM&person=bob")) == [stopped, paused]


@pytest.mark.parametrize(
    ("zone", "since", "hit"),
    [
        ("", "2126-11-24T12:00", True),
        ("", "2126-11-24T12:01", False),
        ("UTC", "2126-11-24T12:00", True),
        ("Europe/Berlin", "2126-11-24T13:00", True),
        ("Europe/Berlin", "2126-11-24T13:01", False),
        ("America/Los_Angeles", "2126-11-24T04:00:00", True),
        ("Europe/Berlin", "2126-11-24T12:00:00Z", True),
        ("Nowhere/At_All", "2126-11-24T12:00", True),
        ("../../etc/passwd", "2126-11-24T12:01", False),
        ("Europe", "2126-11-24T12:00", True),
    ],
)
def test_times_are_by_the_readers_clock(acme: Organization, browser: Client, zone: str, since: str, hit: bool) -> None:
    number = note(acme, at=NOON)
    found = shown(look(browser, acme, f"?zone={zone}&since={since}&until=2126-11-25T00:00"))
    assert (number in found) == hit


def test_the_end_is_not_part_of_a_time(acme: Organization, browser: Client) -> None:
    number = note(acme, at=NOON)
    assert number not in shown(look(browser, acme, "?until=2126-11-24T12:00&since=2126-11-24T11:00"))
    assert number in shown(look(browser, acme, "?until=2126-11-24T12:01&since=2126-11-24T11:00"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?verb=bogus", "What: Nothing of the kind bogus is in this log."),
        ("?type=bogus", "Object type: Nothing of the kind bogus is in this log."),
        ("?since=yesterday", "From: Enter a valid date/time."),
        ("?since=2026-02-31T10:00", "From: Enter a valid date/time."),
        ("?since=0001-01-01T00:00&zone=Asia/Tokyo", "From: Enter a time between the years 2000 and 2200."),
        ("?until=9999-12-31T23:59", "To: Enter a time between the years 2000 and 2200."),
        ("?until=99999999-01-01T00:00", "To: Enter a valid date/time."),
        ("?since=2126-11-24T12:00&until=2126-11-24T12:00", "To: The end must be after the beginning."),
        ("?q=a%00b", "Text: Null characters are not allowed."),
        ("?person=a%00b", "Who: Null characters are not allowed."),
        (f"?object={'x' * 201}", "Object: Ensure this value has at most 200 characters (it has 201)."),
        ("?since=2026-03-29T02:30&zone=Europe/Berlin", "From: "),
    ],
)
def test_a_filter_that_cannot_be_used_is_explained(
    acme: Organization, browser: Client, query: str, message: str
) -> None:
    note(acme)
    response = look(browser, acme, query)
    assert response.status_code == 422
    assert message in text_of(response)
    assert response.context["events"] == []


@pytest.mark.parametrize(
    "query",
    ["?before=999999999999999999999", "?after=x", "?before=-1", "?q=%25&person=_&object=%5C", "?zone=%00", "?x=y"],
)
def test_what_means_nothing_is_passed_over(acme: Organization, browser: Client, query: str) -> None:
    note(acme)
    assert look(browser, acme, query).status_code == 200


# --- pages ----------------------------------------------------------------------------------------------------------


def test_all_pages_of_a_search_forward_and_back(acme: Organization, browser: Client) -> None:
    for _ in range(120):
        audit.record(audit.SYSTEM, "a.b", acme, organization=acme, text="needle")
        audit.record(audit.SYSTEM, "a.b", acme, organization=acme)
    seen: list[list[int]] = []
    address: str | None = reverse("accounts:audit", args=[acme.pk]) + "?q=needle&verb=a.b"
    while address:
        page = browser.get(address).context["page"]
        seen.append([event.number for event in page.rows])
        last, address = page, page.next_url
    assert [len(numbers) for numbers in seen] == [50, 50, 20]
    together = [number for numbers in seen for number in numbers]
    assert together == sorted(together, reverse=True)
    back = browser.get(last.previous_url).context["page"]
    assert [event.number for event in back.rows] == seen[1]


def test_an_unfinished_search_says_so_and_goes_on(
    acme: Organization, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_search, "PATIENCE", timedelta(0))
    first = note(acme, text="needle")
    event = AuditEvent.objects.get()
    later = _at(event, NOON)
    later.number, later.detail = first + (1 << 18), {}
    AuditEvent.objects.bulk_create([later])
    response = look(browser, acme, "?q=needle")
    assert "Nothing found yet" in text_of(response)
    asked = 0
    while not response.context["events"]:
        response = browser.get(response.context["page"].next_url)
        asked += 1
    assert shown(response) == [first]
    assert asked > 1


def test_each_emptiness_says_what_to_do(acme: Organization, browser: Client) -> None:
    assert "No events yet" in text_of(look(browser, acme))
    number = note(acme)
    assert "No event matches" in text_of(look(browser, acme, "?q=nothing"))
    assert "Clear the filter" in text_of(look(browser, acme, "?q=nothing"))
    assert "Go to the newest events" in text_of(look(browser, acme, f"?before={number}"))


def test_the_head_of_the_chain_is_shown(acme: Organization, browser: Client) -> None:
    assert look(browser, acme).context["head"] is None
    note(acme)
    seal()
    response = look(browser, acme)
    assert re.search(r"Sealed in a chain of 1 event\. .* 1:[0-9a-f]{64} ", text_of(response))


def test_the_page_asks_a_fixed_number_of_times(
    acme: Organization, browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(60):
        audit.record(audit.SYSTEM, "a.b", acme, organization=acme)
    look(browser, acme)
    time = "since=2026-01-01T00:00&until=2190-01-01T00:00"
    for query, count in {"": 10, "?q=platform": 11, f"?verb=a.b&{time}": 13}.items():
        with django_assert_num_queries(count):
            look(browser, acme, query)


@pytest.mark.parametrize("role", [OrganizationRole.BILLING, OrganizationRole.MEMBER])
def test_who_may_not_look_may_not_export(acme: Organization, role: OrganizationRole) -> None:
    user = make_user("bob")
    add_to_organization(acme, user, role)
    client = Client()
    client.force_login(user)
    assert look(client, acme).status_code == 403
    assert client.post(reverse("accounts:audit_export", args=[acme.pk]), {"format": "csv"}).status_code == 403
