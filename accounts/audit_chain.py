"""Whether the audit log is as it was written: every chain is read again and every hash is made anew.

The text that is hashed is made here by an expression of its own. The function in the database that made it first is
not asked, because whoever can change the log can change that as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import PLATFORM, Organization

BEGINNING = "0" * 64
MOST_PROBLEMS = 20
MOST_MISFITS = 200

_EVENT = "concat_ws(' ', event.actor_label, event.verb, event.object_label, event.at)"

_SEALS = f"""
    SELECT seal.sequence, seal.event_id, seal.previous, seal.hash, event.number IS NOT NULL, {_EVENT},
        jsonb_build_array(
            seal.sequence, event.number, to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            event.organization_id, event.actor_kind, event.actor_user_id, event.actor_label, event.verb,
            event.object_type, event.object_id, event.object_label, event.address, event.detail
        )::text
    FROM accounts_auditseal AS seal LEFT JOIN accounts_auditevent AS event ON event.number = seal.event_id
    WHERE seal.chain = %s ORDER BY seal.sequence
"""  # noqa: S608 - ours

_UNSEALED = f"""
    SELECT event.number, {_EVENT} FROM accounts_auditevent AS event
    WHERE coalesce(event.organization_id, %s) = %s
        AND NOT EXISTS (SELECT FROM accounts_auditseal AS seal WHERE seal.event_id = event.number)
    ORDER BY event.number
"""  # noqa: S608 - ours

GUARDS = (
    ("accounts_auditevent", "audit_append_only"),
    ("accounts_auditevent", "audit_not_emptied"),
    ("accounts_auditevent", "audit_wait"),
    ("accounts_auditseal", "audit_append_only"),
    ("accounts_auditseal", "audit_not_emptied"),
    ("accounts_auditseal", "audit_sealed_by_the_database"),
    ("accounts_auditwaiting", "audit_seal"),
)
"""The triggers that keep the log, by table."""


class Head(NamedTuple):
    """A place in a chain, as somebody noted it: everything up to it is as it was then if it is still there."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


@dataclass(frozen=True)
class Chain:
    """The events of an organization, or of the platform."""

    id: UUID
    name: str


@dataclass
class Report:
    """What was found. ``problems`` are the first of them, as sentences; there were ``problem_count``."""

    chain: Chain
    count: int = 0
    head: Head | None = None
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    kept: set[Head] = field(default_factory=set)

    def add(self, problem: str) -> None:
        """Another problem."""
        self.problem_count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


class _Seal(NamedTuple):
    sequence: int
    event: int
    previous: str
    hash: str
    exists: bool
    described: str
    text: str

    def fits(self, sequence: int, other: _Seal) -> bool:
        """Whether this is the seal of another one's event, at that place."""
        return self.hash == _hash(self.previous, f"[{sequence}, {other.text.partition(', ')[2]}")


def all_chains() -> list[Chain]:
    """Every chain that there is, the platform's first, then by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT chain FROM accounts_auditseal UNION SELECT coalesce(organization_id, %s) FROM accounts_auditevent",
            [PLATFORM],
        )
        found = [row[0] for row in cursor.fetchall()]
    names = dict(Organization.objects.filter(pk__in=found).values_list("pk", "name"))
    chains = [chain_of(key, names.get(key, "an organization that is not there")) for key in found]
    return sorted(chains, key=lambda chain: (chain.id != PLATFORM, chain.name, chain.id))


def chain_of(key: UUID, name: str) -> Chain:
    """The chain of an organization, or of the platform."""
    return Chain(key, "The platform" if key == PLATFORM else name)


def switched_off() -> list[str]:
    """The guards in the database that do not stand, as sentences."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')")
        standing = set(cursor.fetchall())
    return [
        f"The trigger {trigger} of {table} is missing or switched off: the database does not keep the log now."
        for table, trigger in GUARDS
        if (table, trigger) not in standing
    ]


def verify(chain: Chain, noted: Sequence[Head] = ()) -> Report:
    """Read a chain again. Takes the memory of one row, whatever its length."""
    report = Report(chain)
    misfits: list[_Seal] = []
    last: _Seal | None = None
    sound = True
    for seal in _rows(_SEALS, [chain.id]):
        this = _Seal(*seal)
        before = last.sequence if last else 0
        report.count += 1
        if (this.sequence, this.hash) in noted:
            report.kept.add(Head(this.sequence, this.hash))
        was_sound, sound = sound, _hash(this.previous, this.text) == this.hash
        if this.sequence != before + 1:
            report.add(_missing(before + 1, this.sequence - 1))
        elif sound and was_sound and this.previous != (last.hash if last else BEGINNING):
            report.add(f"Sequence {this.sequence} does not follow on {before}: one of the two was replaced.")
        if not this.exists:
            report.add(f"Sequence {this.sequence}: event {this.event} was removed.")
        elif not sound and len(misfits) < MOST_MISFITS:
            misfits.append(this)
        elif not sound:
            report.add(_changed(this))
        last = this
    for problem in _explained(misfits):
        report.add(problem)
    for number, described in _rows(_UNSEALED, [PLATFORM, chain.id]):
        report.add(f"Event {number} has no seal, so it was not written as events are: {described}")
    report.head = Head(last.sequence, last.hash) if last else None
    return report


def lost(head: Head, report: Report | None) -> str:
    """Why a head that somebody noted is not there any more."""
    if report is None:
        return f"{head} is in none of the chains: its end was cut off, or what was before it was rewritten."
    if report.head is None or report.head.sequence < head.sequence:
        end = f"with {report.head.sequence}" if report.head else "before it begins"
        return f"{head} is not there: the chain ends {end}, so its end was cut off."
    return f"{head} is not there: sequence {head.sequence} has another hash now, so the chain was rewritten."


def _rows(statement: str, values: list[Any]) -> Iterator[tuple[Any, ...]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(2000):
            yield from rows


def _hash(previous: str, text: str) -> str:
    return hashlib.sha256(f"{previous}{text}".encode()).hexdigest()


def _explained(misfits: list[_Seal]) -> Iterator[str]:
    """Seals that do not fit their events or their places, by what was done to them."""
    places = {seal.sequence for seal in misfits}
    for seal in misfits:
        own = next((other for other in misfits if other is not seal and seal.fits(seal.sequence, other)), None)
        near = sorted(places | {seal.sequence - 1, seal.sequence + 1}, key=lambda place: abs(place - seal.sequence))
        place = next((place for place in near if seal.fits(place, seal)), None)
        if own:
            yield f"Sequence {seal.sequence}: event {own.event} belongs here; event {seal.event} was put in its place."
        elif place:
            yield f"Sequence {seal.sequence}: event {seal.event} belongs at sequence {place}."
        else:
            yield _changed(seal)


def _changed(seal: _Seal) -> str:
    return f"Sequence {seal.sequence}: event {seal.event} or its seal was changed; it now says: {seal.described}"


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Sequence {first} is missing: an event was removed with its seal."
    return f"Sequences {first} to {last} are missing: {last - first + 1} events were removed with their seals."
