"""The database itself refuses to change or remove what the audit log says."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.models import ProtectedError

from accounts import audit
from accounts.models import AuditEvent, AuditSeal, Organization
from tests.audit_guards import NOT_EMPTIED, TABLES, switch
from tests.factories import actor, make_organization, make_user


@pytest.fixture
def event(db: None) -> AuditEvent:
    """One event, sealed."""
    organization = make_organization()
    event = audit.record(audit.SYSTEM, "organization.create", organization, organization=organization)
    seal()
    return event


def seal() -> None:
    """As the commit does, which a test never comes to."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def refused(statement: str) -> bool:
    with (
        pytest.raises(ProgrammingError, match="The audit log can only be added to"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    return True


@pytest.mark.parametrize("table", TABLES)
def test_rows_cannot_be_changed_or_removed(event: AuditEvent, table: str) -> None:
    column = "verb" if table == "accounts_auditevent" else "hash"
    assert refused(f"UPDATE {table} SET {column} = 'x'")
    assert refused(f"UPDATE {table} SET {column} = {column} WHERE false")
    assert refused(f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
def test_tables_cannot_be_emptied(event: AuditEvent, table: str) -> None:
    switch(NOT_EMPTIED, on=True)  # rolled back with the test
    assert refused(f"TRUNCATE {table}")
    assert refused("TRUNCATE accounts_auditseal, accounts_auditevent CASCADE")


def test_djangos_own_ways_are_refused_too(event: AuditEvent) -> None:
    for write in (
        lambda: AuditEvent.objects.update(verb="x"),
        lambda: AuditEvent.objects.all().delete(),
        lambda: AuditSeal.objects.all().delete(),
        lambda: AuditSeal.objects.update(hash="x"),
        event.save,
        event.delete,
    ):
        with pytest.raises(ProgrammingError, match="can only be added to"), transaction.atomic():
            write()
    assert AuditEvent.objects.get().verb == "organization.create"


def test_seals_are_written_by_the_database_alone(event: AuditEvent) -> None:
    found = AuditSeal.objects.get()
    assert refused(
        "INSERT INTO accounts_auditseal (event_id, chain, sequence, previous, hash) "
        f"VALUES ({event.pk + 1}, '{found.chain}', 2, '{found.hash}', '{found.hash}')"
    )


def test_who_is_deleted_stays_in_the_log(db: None) -> None:
    user, organization = make_user("alice"), make_organization()
    audit.record(actor(user), "organization.create", organization, organization=organization)
    number, label = user.pk, user.email
    user.delete()
    event = AuditEvent.objects.get()
    assert (event.actor_user_id, event.actor_label) == (number, label)
    seal()  # no constraint is left to complain


def test_an_organization_with_events_cannot_be_deleted(event: AuditEvent) -> None:
    with pytest.raises(ProtectedError):
        Organization.objects.get().delete()


def test_only_known_kinds_of_actors(db: None) -> None:
    organization = make_organization()
    with pytest.raises(IntegrityError, match="audit_actor_kind"), transaction.atomic():
        audit.record(audit.Actor("robot", "R2"), "x.y", organization, organization=organization)
