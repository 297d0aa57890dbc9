"""The search through an organization's log: any combination of filters, at any depth, in bounded time.

One GIN index has all that is filtered by, and PostgreSQL intersects the filters in it. It knows no order, though: a
common word would give it hundreds of thousands of events to sort for a page of fifty. So the log is gone through in
blocks, newest first, until a page is full. The first blocks are small: what is common is found at once. Then they are
large: what is rare is found with few questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db import connection
from django.http import HttpRequest

from accounts.models import AuditEvent, AuditEventQuerySet, Organization
from accounts.models.audit import LARGE_BLOCK, SMALL_BLOCK
from portal.paging import Page, read_page

PATIENCE = timedelta(milliseconds=400)
"""After this long, a search gives what it has found so far, and from where to go on."""

CLOCKS_DIFFER = timedelta(hours=1)
"""The database numbers events in the order of their writing; their times are of the clocks of those who write."""


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for; empty is everything. Texts are found anywhere in what they are looked for in, in upper
    or lower case. ``object`` is a part of its name, or its id."""

    text: str = ""
    person: str = ""
    object: str = ""
    object_type: str = ""
    verb: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def stated(self) -> dict[str, Any]:
        """What is not empty."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}


@dataclass(frozen=True)
class Found:
    """Events, nearest first. ``reached`` is where a search that ran out of patience can go on; None if it did not."""

    events: list[AuditEvent]
    reached: int | None = None


class Search:
    """A search in one organization."""

    def __init__(self, organization: Organization, wanted: Wanted) -> None:
        self.organization, self.wanted = organization, wanted

    def page(self, request: HttpRequest) -> Page[AuditEvent]:
        """The page that the request asks for."""

        def read(edge: int | None, limit: int, forward: bool) -> tuple[list[AuditEvent], int | None]:
            found = self.find(edge, limit=limit, forward=forward)
            return found.events, found.reached

        return read_page(request, read)

    def batches(self, *, before: int, size: int = 1000) -> Iterator[list[AuditEvent]]:
        """Everything older than ``before``, newest first. Each batch is a search of its own: whoever takes their time
        between two of them holds nothing in the database."""
        edge: int | None = before
        while edge is not None:
            found = self.find(edge, limit=size)
            edge = found.events[-1].number if len(found.events) == size else found.reached
            yield found.events

    def find(self, edge: int | None, *, limit: int, forward: bool = False) -> Found:
        """Events older than the number ``edge``, or newer than it; without one, from that end of the log."""
        lowest, highest = self._range
        if edge is not None:
            lowest, highest = (max(lowest, edge + 1), highest) if forward else (lowest, min(highest, edge - 1))
        if lowest > highest:
            return Found([])
        rows = self._rows.order_by("number" if forward else "-number").select_related("seal").defer("text")
        conditions, values = _conditions(self.wanted)
        if not conditions:
            return Found(list(_in_time(rows, self.wanted).filter(number__range=(lowest, highest))[:limit]))
        values |= {
            "organization": self.organization.pk,
            "lowest": lowest,
            "highest": highest,
            "limit": limit,
            "patience": PATIENCE,
        }
        with connection.cursor() as cursor:
            cursor.execute(_look_through(conditions, forward), values)
            numbers, reached = cursor.fetchone()
        full = len(numbers) >= limit
        finished = full or (reached > highest if forward else reached <= lowest)
        return Found(list(rows.filter(number__in=numbers[:limit])), None if finished else reached)

    @property
    def _rows(self) -> AuditEventQuerySet:
        return AuditEvent.objects.in_organization(self.organization)

    @cached_property
    def _range(self) -> tuple[int, int]:
        """The numbers between which all of it must lie; the second is the smaller if there is nothing."""
        numbers = self._rows.values_list("number", flat=True)
        lowest, highest = numbers.order_by("number").first(), numbers.order_by("-number").first()
        if lowest is None or highest is None:
            return 1, 0
        if self.wanted.since:
            earlier = numbers.filter(at__lt=self.wanted.since - CLOCKS_DIFFER).order_by("-at").first()
            lowest = lowest if earlier is None else earlier + 1
        if self.wanted.until:
            later = numbers.filter(at__gte=self.wanted.until + CLOCKS_DIFFER).order_by("at").first()
            highest = highest if later is None else later - 1
        return lowest, highest


def settle() -> None:
    """Sort what was written lately into the index, which takes it unsorted first, so that no request has to wait for
    that. Does nothing where the portal does not own the index: PostgreSQL then does it when it vacuums."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT gin_clean_pending_list(oid) FROM pg_class WHERE oid = 'audit_search'::regclass "
            "AND pg_has_role(relowner, 'MEMBER')"
        )


def kinds(organization: Organization) -> list[tuple[str, str]]:
    """The pairs of object type and verb that the log has, in order: one look into the index for each."""
    step = """
        SELECT object_type, verb FROM accounts_auditevent WHERE organization_id = %(organization)s {more}
        ORDER BY object_type, verb LIMIT 1
    """
    following = step.format(more="AND (object_type, verb) > (kind.object_type, kind.verb)")
    statement = f"""
        WITH RECURSIVE kind AS (
            ({step.format(more="")}) UNION ALL SELECT next.* FROM kind, LATERAL ({following}) AS next
        ) SELECT object_type, verb FROM kind
    """  # noqa: S608 - ours
    with connection.cursor() as cursor:
        cursor.execute(statement, {"organization": organization.pk})
        return [(object_type, verb) for object_type, verb in cursor.fetchall()]


def terms(text: str) -> list[str]:
    """The words of a search text, all of which an event must have."""
    return text.split()


def _in_time(rows: AuditEventQuerySet, wanted: Wanted) -> AuditEventQuerySet:
    if wanted.since:
        rows = rows.filter(at__gte=wanted.since)
    return rows.filter(at__lt=wanted.until) if wanted.until else rows


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """SQL for what the index knows, and its values; nothing where at most a time is wanted."""
    conditions: list[str] = []
    values: dict[str, Any] = {"object": wanted.object, "since": wanted.since, "until": wanted.until}

    def contains(*columns: str, text: str) -> str:
        name = f"pattern{len(values)}"
        values[name] = "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"
        return f"({' OR '.join(f'{column} LIKE upper(%({name})s)' for column in columns)})"

    for name in ("object_type", "verb"):
        if value := getattr(wanted, name):
            conditions.append(f"{name} = %({name})s")
            values[name] = value
    if wanted.person:
        conditions.append(contains("upper(actor_label)", text=wanted.person))
    if wanted.object:
        conditions.append(f"({contains('upper(object_label)', text=wanted.object)} OR object_id = %(object)s)")
    for term in terms(wanted.text):
        conditions.append(contains("upper(actor_label)", "upper(object_label)", "text", text=term))
    if conditions and wanted.since:
        conditions.append("at >= %(since)s")
    if conditions and wanted.until:
        conditions.append("at < %(until)s")
    return conditions, values


def _look_through(conditions: list[str], forward: bool) -> str:
    """The statement that goes through the blocks. It gives the numbers found, and the edge that it came to: everything
    on the near side of it was looked through."""
    order, more = ("ASC", "edge <= %(highest)s") if forward else ("DESC", "edge > %(lowest)s")

    def block(bits: int) -> str:
        return f"(edge >> {bits})" if forward else f"((edge - 1) >> {bits})"

    def beyond(bits: int) -> str:
        return f"(({block(bits)} + {int(forward)}) << {bits})"

    def inside(bits: int) -> str:
        # OFFSET 0 and + 0: the planner must not be tempted to walk the whole log along the index of the numbers.
        return f"""ARRAY(SELECT number FROM (
            SELECT number FROM accounts_auditevent
            WHERE organization_id = %(organization)s AND (number >> {bits}) = {block(bits)}
                AND number + 0 BETWEEN %(lowest)s AND %(highest)s AND {" AND ".join(conditions)} OFFSET 0
        ) AS block ORDER BY number {order} LIMIT %(limit)s)"""  # noqa: S608 - ours

    at_large_block = f"(edge & {(1 << LARGE_BLOCK) - 1}) = 0"
    start = "%(lowest)s" if forward else "%(highest)s + 1"
    return f"""
        WITH RECURSIVE step (number, edge, numbers) AS (
            SELECT 0, ({start})::bigint, ARRAY[]::bigint[]
            UNION ALL
            SELECT number + 1,
                CASE WHEN {at_large_block} THEN {beyond(LARGE_BLOCK)} ELSE {beyond(SMALL_BLOCK)} END,
                numbers || CASE WHEN {at_large_block} THEN {inside(LARGE_BLOCK)} ELSE {inside(SMALL_BLOCK)} END
            FROM step WHERE cardinality(numbers) < %(limit)s AND {more}
                AND (number = 0 OR clock_timestamp() < statement_timestamp() + %(patience)s)
        ) SELECT numbers, edge FROM step ORDER BY number DESC LIMIT 1
    """  # noqa: S608 - ours
