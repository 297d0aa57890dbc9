"""The search through the audit log finds what each event says, and all of it, in whatever blocks it looks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from accounts import audit_search
from accounts.audit_search import Search, Wanted, kinds
from accounts.models import AuditEvent, Organization
from tests.factories import make_organization

MIDDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def acme(db: None) -> Organization:
    return make_organization(name="Acme")


def note(organization: Organization, label: str = "Alice <alice@example.org>", **fields: Any) -> AuditEvent:
    """An event with the given fields."""
    values: dict[str, Any] = {
        "actor_kind": "user",
        "actor_label": label,
        "verb": "cluster.pause",
        "object_type": "cluster",
        "object_id": "7",
        "object_label": "etl",
        **fields,
    }
    return AuditEvent.objects.create(organization=organization, **values)


def numbers_from(number: int) -> None:
    """The next event gets this number."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('accounts_auditevent_number_seq', %s, false)", [number])


@pytest.fixture(autouse=True)
def numbers_go_on(db: None) -> Iterator[None]:
    """Sequences are not rolled back with a test."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('accounts_auditevent_number_seq')")
        (number,) = cursor.fetchone()
    yield
    numbers_from(number + 1000)


def found(organization: Organization, **wanted: Any) -> list[int]:
    """All numbers, newest first, in several batches."""
    batches = Search(organization, Wanted(**wanted)).batches(before=2**62, size=3)
    return [event.number for batch in batches for event in batch]


# --- by what it says ------------------------------------------------------------------------------------------------

SAYS: dict[str, Any] = {
    "label": "Zoë Ångström <zoe@example.org>",
    "verb": "file.delete",
    "object_type": "workspace",
    "object_id": "0b6f0e8e-1111-2222-3333-444455556666",
    "object_label": "Laboratory 50%",
    "address": "203.0.113.77",
    "detail": {"path": "jobs/load_31.py", "before": {"tags": {"team": "Apollo"}}, "list": ["ΣΊΣΥΦΟΣ"], "count": 90125},
}


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            {"text": text}
            for text in ("zoë", "ÅNGSTRÖM", "zoe@example", "laboratory", "50%", "203.0.113.77", "load_31")
        ),
        *(
            {"text": text}
            for text in ("jobs/load", "apollo", "σίσυφος", "zoë apollo", "APOLLO laboratory load", " zoë ")
        ),
        *({"person": text} for text in ("zoë", "ÅNG", "<zoe@example.org>", "Zoë Ångström <zoe@example.org>", "z")),
        *({"object": text} for text in ("labor", "50%", "RATORY 5", SAYS["object_id"])),
        {"verb": "file.delete"},
        {"object_type": "workspace"},
        {"text": "apollo", "person": "zoe", "object": "lab", "verb": "file.delete", "object_type": "workspace"},
    ],
)
def test_found_by_what_it_says(acme: Organization, wanted: dict[str, Any]) -> None:
    note(acme)
    event = note(acme, **SAYS)
    note(acme)
    note(make_organization(name="Globex"), **SAYS)
    assert found(acme, **wanted) == [event.number]


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            {"text": text}
            for text in ("zoé", "load%31", "load-31", "50_", "\\", "zoë nobody", "team", "90125", "1111-2222")
        ),
        *({"person": text} for text in ("laboratory", "apollo", "%", "_", "zoë x")),
        *({"object": text} for text in ("zoë", "0b6f0e8e", "workspace")),
        {"verb": "file"},
        {"verb": "FILE.DELETE"},
        {"object_type": "work"},
        {"text": "apollo", "verb": "cluster.pause"},
    ],
)
def test_not_found_by_what_it_does_not_say(acme: Organization, wanted: dict[str, str]) -> None:
    """Also: patterns are no patterns, names of details are no text."""
    note(acme)
    note(acme, **SAYS)
    assert found(acme, **wanted) == []


def test_without_a_wish_everything_is_found(acme: Organization) -> None:
    expected = [note(acme).number for _ in range(7)][::-1]
    note(make_organization(name="Globex"))
    assert found(acme) == expected


def test_an_organization_without_events(acme: Organization) -> None:
    assert found(acme) == found(acme, text="x") == found(acme, since=MIDDAY) == []
    assert kinds(acme) == []


# --- by time --------------------------------------------------------------------------------------------------------


def test_found_by_time(acme: Organization) -> None:
    hours = {hour: note(acme, at=MIDDAY + timedelta(hours=hour)).number for hour in range(-5, 6)}
    for extra in ({}, {"text": "alice"}):
        assert found(acme, since=MIDDAY, **extra) == [hours[hour] for hour in range(5, -1, -1)]
        assert found(acme, until=MIDDAY, **extra) == [hours[hour] for hour in range(-1, -6, -1)]
        narrow = {"since": MIDDAY - timedelta(hours=1), "until": MIDDAY + timedelta(hours=1)}
        assert found(acme, **narrow, **extra) == [hours[0], hours[-1]]
        assert found(acme, since=MIDDAY + timedelta(days=9), **extra) == []
        assert found(acme, until=MIDDAY - timedelta(days=9), **extra) == []


def test_clocks_that_differ_lose_nothing(acme: Organization) -> None:
    """Two machines write in turn; the clock of one is 50 minutes late."""
    late = timedelta(minutes=50)
    events = [
        note(acme, at=MIDDAY + timedelta(minutes=10 * step) - (late if step % 2 else timedelta())) for step in range(60)
    ]
    for since in range(-60, 700, 35):
        start, end = MIDDAY + timedelta(minutes=since), MIDDAY + timedelta(minutes=since + 100)
        expected = [event.number for event in reversed(events) if start <= event.at < end]
        assert found(acme, since=start, until=end) == expected
        assert found(acme, since=start, until=end, text="alice") == expected


# --- through the blocks ---------------------------------------------------------------------------------------------


def test_any_search_finds_the_same_in_blocks_as_without(acme: Organization) -> None:
    """Events strewn over large and small blocks, at their edges too; against a plain comparison in Python."""
    chance = random.Random(6)
    edges = [n << bits for bits in (13, 17) for n in (1, 2, 3, 5, 17, 33)]
    start = 5 << 21
    strewn = {start + edge + step for edge in edges for step in (-1, 0, 1)}
    strewn |= {start + chance.randrange(1 << 20) for _ in range(150)}
    globex = make_organization(name="Globex")
    events = []
    for number in sorted(strewn):
        numbers_from(number)
        place = chance.choice([acme, acme, globex])
        text = chance.choice(["alpha", "beta", "alpha beta", "gamma"])
        event = note(place, verb=chance.choice(["a.b", "a.c"]), detail={"text": text})
        if place == acme:
            events.append(event)
    wishes: list[dict[str, Any]] = [{"text": "alpha"}, {"text": "alpha beta"}, {"text": "gamma"}, {"text": "delta"}]
    wishes += [{"text": "beta", "verb": "a.b"}, {"verb": "a.c"}, {"person": "alice"}]
    for wish in wishes:
        words = wish.get("text", "").split()
        expected = [
            event.number
            for event in reversed(events)
            if all(word in event.detail["text"] for word in words) and wish.get("verb", event.verb) == event.verb
        ]
        assert found(acme, **wish) == expected, wish
        search = Search(acme, Wanted(**wish))
        for edge in [*chance.sample(sorted(strewn), 12), start, max(strewn) + 1]:
            older = [number for number in expected if number < edge][:4]
            newer = [number for number in reversed(expected) if number > edge][:4]
            assert [event.number for event in search.find(edge, limit=4).events] == older
            assert [event.number for event in search.find(edge, limit=4, forward=True).events] == newer
        assert [event.number for event in search.find(None, limit=2).events] == expected[:2]
        assert [event.number for event in search.find(None, limit=2, forward=True).events] == expected[::-1][:2]


def test_a_search_that_runs_out_of_patience_goes_on_where_it_stopped(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_search, "PATIENCE", timedelta(0))
    start = 7 << 21
    numbers_from(start)
    first = note(acme, detail={"text": "needle"}).number
    numbers_from(start + 50_000)
    note(acme)
    search = Search(acme, Wanted(text="needle"))
    step = search.find(None, limit=5)
    assert step.events == []
    assert step.reached is not None
    assert start < step.reached <= start + 50_000
    assert found(acme, text="needle") == [first]
    numbers_from(start + 100_000)
    last = note(acme, detail={"text": "needle"}).number
    forward, edge = [], first
    search = Search(acme, Wanted(text="needle"))
    while True:
        step = search.find(edge, limit=5, forward=True)
        forward += [event.number for event in step.events]
        if step.reached is None:
            break
        assert step.reached > edge
        edge = step.reached
    assert forward == [last]


def test_a_search_is_a_fixed_number_of_questions(
    acme: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    now = max(note(acme).at for _ in range(20))
    with django_assert_num_queries(3):  # both ends of the log, then the events
        Search(acme, Wanted()).find(None, limit=5)
    with django_assert_num_queries(4):  # and the search itself
        Search(acme, Wanted(text="alice")).find(None, limit=5)
    with django_assert_num_queries(6):  # and both ends of the time
        day = timedelta(days=1)
        Search(acme, Wanted(text="alice", since=now - day, until=now + day)).find(None, limit=5)


def test_the_kinds_of_events_in_the_log(acme: Organization) -> None:
    for verb in ("run.submit", "cluster.pause", "cluster.delete", "cluster.pause"):
        note(acme, verb=verb, object_type=verb.partition(".")[0])
    note(acme, verb="file.save", object_type="workspace")
    note(make_organization(), verb="x.y", object_type="x")
    assert kinds(acme) == [
        ("cluster", "cluster.delete"),
        ("cluster", "cluster.pause"),
        ("run", "run.submit"),
        ("workspace", "file.save"),
    ]


def test_what_was_written_lately_is_sorted_into_the_index(acme: Organization) -> None:
    def pending() -> int:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")  # rolled back with the test
            cursor.execute("SELECT n_pending_tuples FROM gin_metapage_info(get_raw_page('audit_search', 0))")
            return int(cursor.fetchone()[0])

    number = note(acme, detail={"text": "needle"}).number
    assert pending()
    assert found(acme, text="needle") == [number]
    audit_search.settle()
    assert not pending()
    assert found(acme, text="needle") == [number]


KNOWN: dict[str, tuple[str, ...]] = {
    "verb": ("(verb)::text = 'xyzzy'",),
    "object_type": ("(object_type)::text = 'xyzzy'",),
    "person": ("upper((actor_label)::text) ~~ '%XYZZY%'",),
    "object": ("upper((object_label)::text) ~~ '%XYZZY%'", "(object_id)::text = 'xyzzy'"),
    "text": (
        "upper((actor_label)::text) ~~ '%XYZZY%'",
        "upper((object_label)::text) ~~ '%XYZZY%'",
        "text ~~ '%XYZZY%'",
    ),
}


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_one_index_knows_all_that_is_filtered_by(acme: Organization, name: str, forward: bool) -> None:
    """Where an expression of the search differs from the index's by a word, it is slow, and nothing else shows it."""
    conditions, values = audit_search._conditions(Wanted(**{name: "xyzzy"}))  # type: ignore[arg-type]
    values |= {"organization": acme.pk, "lowest": 1, "highest": 3 << 17, "limit": 5, "patience": timedelta(seconds=1)}
    with connection.cursor() as cursor:
        # All of this is rolled back with the test.
        cursor.execute("ALTER TABLE accounts_auditevent DISABLE TRIGGER USER")
        cursor.execute("DROP INDEX audit_by_verb, audit_by_organization, audit_by_time")
        cursor.execute(
            "INSERT INTO accounts_auditevent (organization_id, at, actor_kind, actor_label, verb, object_type, "
            "object_id, object_label, detail) "
            "SELECT %s, now(), 'user', 'Alice', 'a.b', 'a', i::text, 'lab', '{}' FROM generate_series(1, 3000) AS i",
            [acme.pk],
        )
        cursor.execute("ANALYZE accounts_auditevent")
        cursor.execute("SET LOCAL cpu_tuple_cost = 10")  # as if there were a great many
        for kind in ("seqscan", "indexscan", "indexonlyscan"):
            cursor.execute(f"SET LOCAL enable_{kind} = off")
        cursor.execute(f"EXPLAIN ANALYZE {audit_search._look_through(conditions, forward)}", values)
        plan = [row[0] for row in cursor.fetchall()]
    used = " ".join(line for line in plan if "Index Cond" in line)
    for part in ("organization_id = ", "(number >> 13) = ", "(number >> 17) = ", *KNOWN[name]):
        assert part in used, f"{part} is not in {used}"
