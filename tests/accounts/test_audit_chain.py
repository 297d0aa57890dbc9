"""Each organization's events are a chain, sealed by the database when their transaction commits."""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import audit
from accounts.models import PLATFORM, AuditEvent, AuditSeal, Membership, Organization, User
from tests.audit_guards import SEALED, switched_off
from tests.clouds.local_world import wait_for
from tests.factories import actor, make_organization, make_user

pytestmark = pytest.mark.django_db(transaction=True)
BEGINNING = "0" * 64


def note(organization: Organization | None, verb: str = "test.note", **detail: Any) -> AuditEvent:
    """One event in a transaction of its own."""
    with transaction.atomic():
        return audit.record(audit.SYSTEM, verb, organization or Organization(), organization=organization, **detail)


def undo(organization: Organization) -> None:
    """One event that is rolled back."""
    with transaction.atomic():
        audit.record(audit.SYSTEM, "a.undone", organization, organization=organization)
        transaction.set_rollback(True)


def chain(organization: Organization | None) -> list[AuditSeal]:
    """Its seals, checked."""
    key = organization.pk if organization else PLATFORM
    seals = list(AuditSeal.objects.filter(chain=key).order_by("sequence").select_related("event"))
    assert [seal.sequence for seal in seals] == list(range(1, len(seals) + 1))
    assert [seal.previous for seal in seals] == [BEGINNING, *(seal.hash for seal in seals)][: len(seals)]
    assert [seal.hash for seal in seals] == [expected(seal) for seal in seals]
    return seals


def expected(seal: AuditSeal) -> str:
    """The hash as docs/audit.md describes it, made without the database."""
    event = seal.event
    values = [
        *(seal.sequence, event.number, f"{event.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"),
        str(event.organization_id) if event.organization_id else None,
        *(event.actor_kind, event.actor_user_id, event.actor_label, event.verb),
        *(event.object_type, event.object_id, event.object_label, event.address),
        dict(sorted(event.detail.items(), key=lambda item: (len(item[0].encode()), item[0].encode()))),
    ]
    return hashlib.sha256((seal.previous + json.dumps(values, ensure_ascii=False)).encode()).hexdigest()


def waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_auditwaiting")
        return int(cursor.fetchone()[0])


def test_events_are_sealed_in_their_order_by_organization() -> None:
    acme, globex, alice = make_organization(), make_organization(), make_user("alice")
    with transaction.atomic():
        for number in range(3):
            audit.record(actor(alice), "a.b", acme, organization=acme, number=number, who="Zoë \"'\\ 🦉", none=None)
            audit.record(actor(alice), "a.b", globex, organization=globex)
        assert not AuditSeal.objects.exists()
    note(acme, tags={"b": 1.50, "aa": [True, None, "x"]}, large=10**30)
    note(None)
    assert [seal.event.detail.get("number") for seal in chain(acme)] == [0, 1, 2, None]
    assert (len(chain(globex)), len(chain(None))) == (3, 1)
    assert waiting() == 0


def test_what_is_rolled_back_leaves_no_gap() -> None:
    acme = make_organization()
    note(acme)
    with transaction.atomic():
        audit.record(audit.SYSTEM, "a.kept", acme, organization=acme)
        undo(acme)
        audit.record(audit.SYSTEM, "a.kept", acme, organization=acme)
    undo(acme)
    assert [seal.event.verb for seal in chain(acme)] == ["test.note", "a.kept", "a.kept"]
    assert waiting() == 0


def test_many_at_once() -> None:
    places = [make_organization() for _ in range(3)]
    with transaction.atomic():
        AuditEvent.objects.bulk_create(
            AuditEvent(
                organization=places[number % 3],
                actor_kind="system",
                actor_label="import",
                verb="a.b",
                object_type="x",
                object_id=str(number),
                object_label="x",
            )
            for number in range(300)
        )
    for place in places:
        seals = chain(place)
        assert [int(seal.event.object_id) for seal in seals] == list(range(places.index(place), 300, 3))


def test_earlier_events_are_sealed_by_the_migration() -> None:
    acme, globex = make_organization(), make_organization()
    with switched_off(SEALED):
        earlier = [note(place).number for place in (acme, globex, acme)]
    assert not AuditSeal.objects.exists()
    migration = importlib.import_module("accounts.migrations.0007_seal_earlier_events").Migration
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(migration.operations[0].sql)
    note(acme)
    assert [seal.event.number for seal in chain(acme)][:2] == [earlier[0], earlier[2]]
    assert (len(chain(acme)), len(chain(globex))) == (3, 1)


# --- several at once ------------------------------------------------------------------------------------------------


def at_once(*works: Callable[[], None]) -> None:
    """Each in a thread with a connection of its own; they start together."""
    start = threading.Barrier(len(works))

    def work(work: Callable[[], None]) -> None:
        try:
            start.wait(10)
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work, each) for each in works]:
            done.result(60)


def test_many_writers_make_one_chain() -> None:
    acme = make_organization()

    def write() -> None:
        for _ in range(20):
            note(acme)

    at_once(*[write] * 6)
    assert len(chain(acme)) == 120
    assert waiting() == 0


def test_writers_to_several_organizations_in_any_order_do_not_block_one_another_for_good() -> None:
    places = [make_organization() for _ in range(4)]

    def write(shift: int) -> None:
        for _ in range(15):
            with transaction.atomic():
                for index in range(4):
                    place = places[(index * (1 if shift % 2 else -1) + shift) % 4]
                    audit.record(audit.SYSTEM, "a.b", place, organization=place)

    at_once(*[lambda shift=shift: write(shift) for shift in range(6)])
    assert [len(chain(place)) for place in places] == [90] * 4


def test_the_chain_is_locked_after_everything_else() -> None:
    """One transaction has a row and wants the chain. Another must not have the chain while it waits for that row, which
    the check of its foreign key does at the commit, even if that row was written after the event."""
    acme, alice, bob = make_organization(), make_user("alice"), make_user("bob")
    has_row, second_waits = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=bob.pk)
            audit.record(actor(alice), "a.first", alice, organization=acme)
            has_row.set()
            assert second_waits.wait(30)

    def second() -> None:
        assert has_row.wait(30)
        with transaction.atomic():
            audit.record(actor(alice), "a.second", alice, organization=acme)
            Membership.objects.create(organization=acme, user=bob, role="MEMBER")

    def watch() -> None:
        assert has_row.wait(30)
        with connection.cursor() as cursor:

            def blocked() -> bool:
                cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
                return cursor.fetchone() is not None

            wait_for(blocked)
        second_waits.set()

    at_once(first, second, watch)
    assert [seal.event.verb for seal in chain(acme)] == ["a.first", "a.second"]
