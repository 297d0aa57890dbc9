"""``manage.py audit_verify`` finds what somebody with every right in the database did to the log."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts import audit, audit_chain
from accounts.models import PLATFORM, AuditEvent, AuditSeal, Organization
from tests.audit_guards import APPEND_ONLY, NOT_EMPTIED, SEALED, switch, switched_off
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def guarded(transactional_db: None) -> Iterator[None]:
    """As in production: the log may not be emptied either."""
    switch(NOT_EMPTIED, on=True)
    yield
    switch(NOT_EMPTIED, on=False)


@pytest.fixture
def acme(guarded: None) -> Organization:
    """With five events, among those of others."""
    acme, globex = make_organization(name="Acme"), make_organization(name="Globex")
    for number in range(1, 6):
        note(acme, number=number)
        note(globex, number=number)
    note(None)
    return acme


def note(organization: Organization | None, **detail: Any) -> AuditEvent:
    with transaction.atomic():
        subject = organization or Organization()
        return audit.record(audit.SYSTEM, "test.note", subject, organization=organization, **detail)


def verify(*arguments: str) -> tuple[int, str]:
    """The exit status and what was printed."""
    output = StringIO()
    try:
        call_command("audit_verify", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue() + str(error)
    return 0, output.getvalue()


def tamper(statement: str, *values: Any) -> None:
    """As the owner of the tables, who can switch the guards off."""
    with switched_off(APPEND_ONLY), connection.cursor() as cursor:
        cursor.execute(statement, values)


def events(organization: Organization) -> list[int]:
    return list(AuditEvent.objects.in_organization(organization).order_by("number").values_list("number", flat=True))


def head(organization: Organization) -> str:
    return str(AuditSeal.objects.filter(chain=organization.pk).order_by("sequence").last())


def problems(organization: Organization) -> list[str]:
    """What is wrong with this chain; all others are fine."""
    status, text = verify()
    assert status == 1
    for line in text.splitlines():
        if "events, " in line:
            assert line.startswith("WRONG" if f"({organization.pk})" in line else "OK"), text
    return [line.strip() for line in text.splitlines() if line.startswith("      ")]


# --- what is well ---------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_touched(acme: Organization) -> None:
    globex = Organization.objects.get(name="Globex")
    assert verify() == (
        0,
        f"OK    The platform ({PLATFORM}): 1 events, head {AuditSeal.objects.get(chain=PLATFORM)}\n"
        f"OK    Acme ({acme.pk}): 5 events, head {head(acme)}\n"
        f"OK    Globex ({globex.pk}): 5 events, head {head(globex)}\n",
    )


def test_the_empty_log_is_well() -> None:
    assert verify() == (0, "")
    acme = make_organization(name="Acme")
    assert verify("--organization", "Acme") == (0, f"OK    Acme ({acme.pk}): 0 events, empty\n")


@pytest.mark.parametrize("by", ["id", "name", "other case"])
def test_one_organization(acme: Organization, by: str) -> None:
    name = {"id": str(acme.pk), "name": "Acme", "other case": "aCME"}[by]
    assert verify("--organization", name) == (0, f"OK    Acme ({acme.pk}): 5 events, head {head(acme)}\n")


def test_the_platform(acme: Organization) -> None:
    status, text = verify("--platform")
    assert (status, len(text.splitlines())) == (0, 1)
    assert "The platform" in text


def test_any_content_is_read_as_it_was_sealed(acme: Organization) -> None:
    awkward = {
        "": "",
        "quote": '"\\',
        "line": "a\nb\t\x7f",
        "owl": "🦉\u202e",
        "n": [1.0, 1e300, -0.0, 10**40],
        "b": None,
    }
    note(acme, detail=awkward, bb={"z": 1, "aa": 2, "é": 3})
    assert verify("--organization", "Acme")[0] == 0


# --- what was done to it --------------------------------------------------------------------------------------------

COLUMNS = {
    "at": "at + interval '1 microsecond'",
    "organization_id": "NULL",
    "actor_kind": "'user'",
    "actor_user_id": "1",
    "actor_label": "actor_label || ' '",
    "verb": "'x'",
    "object_type": "''",
    "object_id": "'x'",
    "object_label": "upper(object_label)",
    "address": "'10.0.0.1'",
    "detail": "detail || '{\"number\": 30}'",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_row(acme: Organization, column: str) -> None:
    number = events(acme)[2]
    tamper(f"UPDATE accounts_auditevent SET {column} = {COLUMNS[column]} WHERE number = %s", number)
    found = problems(acme)
    assert len(found) == 1
    assert found[0].startswith(f"Sequence 3: event {number} or its seal was changed; it now says: Bodo Cloud Platform")


def test_every_column_is_sealed() -> None:
    sealed = {*COLUMNS, "number"}
    assert {field.column for field in AuditEvent._meta.concrete_fields} - sealed == {"text"}, "derived from the others"


def test_a_row_with_another_number(acme: Organization) -> None:
    number = events(acme)[2]
    tamper("UPDATE accounts_auditevent SET number = 1000000 WHERE number = %s", number)
    assert [line[:40] for line in problems(acme)] == [
        f"Sequence 3: event {number} was removed."[:40],
        "Event 1000000 has no seal, so it was not written as events are"[:40],
    ]


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_removed_row(acme: Organization, place: int) -> None:
    number = events(acme)[place - 1]
    tamper("DELETE FROM accounts_auditevent WHERE number = %s", number)
    assert problems(acme) == [f"Sequence {place}: event {number} was removed."]


@pytest.mark.parametrize("place", [1, 3])
def test_a_row_removed_with_its_seal(acme: Organization, place: int) -> None:
    number = events(acme)[place - 1]
    tamper("DELETE FROM accounts_auditseal WHERE event_id = %s", number)
    tamper("DELETE FROM accounts_auditevent WHERE number = %s", number)
    assert problems(acme) == [f"Sequence {place} is missing: an event was removed with its seal."]


def test_several_rows_removed_with_their_seals(acme: Organization) -> None:
    for number in events(acme)[1:3]:
        tamper("DELETE FROM accounts_auditseal WHERE event_id = %s", number)
        tamper("DELETE FROM accounts_auditevent WHERE number = %s", number)
    assert problems(acme) == ["Sequences 2 to 3 are missing: 2 events were removed with their seals."]


def test_a_gap_that_was_closed(acme: Organization) -> None:
    """Renumbering the seals behind it does not help: their places are sealed as well."""
    second, *others = events(acme)[1:]
    tamper("DELETE FROM accounts_auditseal WHERE event_id = %s", second)
    tamper("DELETE FROM accounts_auditevent WHERE number = %s", second)
    for place in (3, 4, 5):
        tamper(
            "UPDATE accounts_auditseal SET sequence = %s WHERE chain = %s AND sequence = %s", place - 1, acme.pk, place
        )
    assert problems(acme) == [
        f"Sequence {place}: event {number} belongs at sequence {place + 1}." for place, number in enumerate(others, 2)
    ]


@pytest.mark.parametrize(("one", "other"), [(2, 3), (1, 5)])
def test_two_events_exchanged(acme: Organization, one: int, other: int) -> None:
    first, second = events(acme)[one - 1], events(acme)[other - 1]
    exchange = "UPDATE accounts_auditseal SET event_id = %s WHERE chain = %s AND sequence = %s"
    tamper(exchange, 0, acme.pk, one)
    tamper(exchange, first, acme.pk, other)
    tamper(exchange, second, acme.pk, one)
    assert problems(acme) == [
        f"Sequence {one}: event {first} belongs here; event {second} was put in its place.",
        f"Sequence {other}: event {second} belongs here; event {first} was put in its place.",
    ]


@pytest.mark.parametrize(("one", "other"), [(2, 3), (1, 5)])
def test_two_seals_exchanged_with_their_events(acme: Organization, one: int, other: int) -> None:
    first, second = events(acme)[one - 1], events(acme)[other - 1]
    move = "UPDATE accounts_auditseal SET sequence = %s WHERE chain = %s AND sequence = %s"
    tamper(move, 0, acme.pk, one)
    tamper(move, one, acme.pk, other)
    tamper(move, other, acme.pk, 0)
    assert problems(acme) == [
        f"Sequence {one}: event {second} belongs at sequence {other}.",
        f"Sequence {other}: event {first} belongs at sequence {one}.",
    ]


def test_contents_exchanged(acme: Organization) -> None:
    first, second = events(acme)[1:3]
    tamper(
        "UPDATE accounts_auditevent AS this SET detail = other.detail, at = other.at FROM accounts_auditevent AS other "
        "WHERE (this.number, other.number) IN ((%s, %s), (%s, %s))",
        *(first, second, second, first),
    )
    assert len(problems(acme)) == 2


def test_a_row_put_in_without_a_seal(acme: Organization) -> None:
    with switched_off(SEALED):
        number = note(acme, forged=True).number
    (found,) = problems(acme)
    assert found.startswith(
        f"Event {number} has no seal, so it was not written as events are: Bodo Cloud Platform test."
    )


def test_a_row_put_in_with_a_forged_seal(acme: Organization) -> None:
    with switched_off(SEALED):
        number = note(acme, forged=True).number
    sequence, _, newest = head(acme).partition(":")
    forge = "ALTER TABLE accounts_auditseal DISABLE TRIGGER audit_sealed_by_the_database"
    with connection.cursor() as cursor:
        cursor.execute(forge)
        AuditSeal.objects.create(
            event_id=number, chain=acme.pk, sequence=int(sequence) + 1, previous=newest, hash="f" * 64
        )
        cursor.execute(forge.replace("DISABLE", "ENABLE"))
    assert len(problems(acme)) == 1


def test_a_row_changed_and_sealed_anew(acme: Organization) -> None:
    """Its seal is right; the next one does not follow on it."""
    number = events(acme)[2]
    tamper("UPDATE accounts_auditevent SET verb = 'x' WHERE number = %s", number)
    tamper(
        "UPDATE accounts_auditseal AS seal SET hash = encode(sha256(convert_to(previous || "
        "accounts_audit_canonical(sequence, event), 'UTF8')), 'hex') FROM accounts_auditevent AS event "
        "WHERE event.number = seal.event_id AND event.number = %s",
        number,
    )
    assert problems(acme) == ["Sequence 4 does not follow on 3: one of the two was replaced."]


def test_a_first_row_that_follows_on_something(acme: Organization) -> None:
    tamper(
        "UPDATE accounts_auditseal AS seal SET previous = repeat('1', 64), hash = encode(sha256(convert_to("
        "repeat('1', 64) || accounts_audit_canonical(sequence, event), 'UTF8')), 'hex') "
        "FROM accounts_auditevent AS event WHERE event.number = seal.event_id AND event.number = %s",
        events(acme)[0],
    )
    assert len(problems(acme)) == 2


def test_many_problems_are_counted(acme: Organization) -> None:
    with transaction.atomic():
        for number in range(300):
            audit.record(audit.SYSTEM, "test.note", acme, organization=acme, number=number)
    tamper("UPDATE accounts_auditevent SET verb = 'x' WHERE organization_id = %s", acme.pk)
    status, text = verify("--organization", "Acme")
    assert status == 1
    assert "… and 285 more" in text
    assert "305 problems" in text


# --- the end of the chain, and the guards ---------------------------------------------------------------------------


def test_a_head_that_was_noted_is_still_there(acme: Organization) -> None:
    noted = head(acme)
    note(acme)
    assert verify("--expect", noted, "--organization", "Acme")[0] == 0
    assert verify("--expect", noted, "--expect", head(acme))[0] == 0


def test_a_tail_that_was_cut_off_is_found_by_a_head_that_was_noted(acme: Organization) -> None:
    noted = head(acme)
    for number in events(acme)[3:]:
        tamper("DELETE FROM accounts_auditseal WHERE event_id = %s", number)
        tamper("DELETE FROM accounts_auditevent WHERE number = %s", number)
    assert verify()[0] == 0, "by itself, the chain cannot know how long it was"
    status, text = verify("--organization", "Acme", "--expect", noted)
    assert status == 1
    assert f"{noted} is not there: the chain ends with 3, so its end was cut off." in text
    status, text = verify("--expect", noted)
    assert status == 1
    assert f"{noted} is in none of the chains" in text


def test_a_chain_that_is_gone_is_found_by_a_head_that_was_noted(acme: Organization) -> None:
    noted = head(acme)
    tamper("DELETE FROM accounts_auditseal WHERE chain = %s", acme.pk)
    tamper("DELETE FROM accounts_auditevent WHERE organization_id = %s", acme.pk)
    assert verify()[0] == 0
    status, text = verify("--organization", "Acme", "--expect", noted)
    assert status == 1
    assert "the chain ends before it begins" in text


def test_a_chain_written_anew_is_found_by_a_head_that_was_noted(acme: Organization) -> None:
    noted = head(acme)
    tamper("DELETE FROM accounts_auditseal WHERE chain = %s", acme.pk)
    tamper("UPDATE accounts_auditevent SET verb = 'x' WHERE number = %s", events(acme)[0])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_auditwaiting SELECT pg_current_xact_id(), number FROM accounts_auditevent "
            "WHERE organization_id = %s",
            [acme.pk],
        )
    assert verify()[0] == 0
    status, text = verify("--organization", "Acme", "--expect", noted)
    assert status == 1
    assert "sequence 5 has another hash now, so the chain was rewritten" in text


@pytest.mark.parametrize(("table", "trigger"), audit_chain.GUARDS)
def test_a_guard_that_is_switched_off_is_told(acme: Organization, table: str, trigger: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        status, text = verify()
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
    assert status == 1
    assert f"The trigger {trigger} of {table} is missing or switched off" in text


def test_events_written_meanwhile_are_no_problem(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    original = audit_chain.switched_off

    def write() -> None:
        note(acme)
        connection.close()

    def late() -> list[str]:
        found = original()
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return found

    monkeypatch.setattr("accounts.management.commands.audit_verify.switched_off", late)
    before = head(acme)
    assert verify("--organization", "Acme") == (0, f"OK    Acme ({acme.pk}): 5 events, head {before}\n")
    assert head(acme) != before


# --- what cannot be asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "5", "5:abc", "0:" + "a" * 64, "-1:" + "a" * 64, "5:" + "g" * 64, "9" * 30 + ":" + "a" * 64]
)
def test_a_head_is_a_number_and_a_hash(text: str) -> None:
    status, message = verify(f"--expect={text}")
    assert status == 2
    assert "is no head" in message


@pytest.mark.parametrize("name", ["", "Nowhere", str(uuid.UUID(int=7)), "%"])
def test_an_organization_that_is_not_there(acme: Organization, name: str) -> None:
    assert verify("--organization", name) == (2, f"There is no organization {name}.")
