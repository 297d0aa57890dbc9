"""The audit log as a file: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import chain
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from accounts.audit_search import Search
from accounts.models import AuditEvent
from portal import export
from portal.export import harmless, iso

COLUMNS = (
    *("sequence", "number", "at", "actor_kind", "actor", "verb", "object_type", "object_id", "object"),
    *("address", "detail", "hash"),
)


def as_csv(events: Iterable[AuditEvent]) -> str:
    """Lines of CSV. An apostrophe keeps a cell that looks like a formula from being one."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    for event in events:
        row = _row(event)
        row["detail"] = json.dumps(row["detail"], ensure_ascii=False, cls=DjangoJSONEncoder)
        writer.writerow([harmless(row[name]) for name in COLUMNS])
    return lines.getvalue()


def as_json(events: Iterable[AuditEvent]) -> str:
    """A line of JSON for each event."""
    return "".join(f"{json.dumps(_row(event), ensure_ascii=False, cls=DjangoJSONEncoder)}\n" for event in events)


FORMATS: dict[str, tuple[str, str, Callable[[Iterable[AuditEvent]], str]]] = {
    "csv": ("text/csv; charset=utf-8", ",".join(COLUMNS) + "\r\n", as_csv),
    "jsonl": ("application/x-ndjson", "", as_json),
}
"""By name: the content type, what comes first, and how events are written."""


def stream(search: Search, kind: str, before: int) -> AsyncIterator[bytes]:
    """All that was found, older than the number ``before``, in pieces of bounded size."""
    _, head, write = FORMATS[kind]
    pieces = (write(events).encode() for events in search.batches(before=before))
    return export.stream(chain([head.encode()], pieces))


def _row(event: AuditEvent) -> dict[str, Any]:
    seal = getattr(event, "seal", None)
    return {
        "sequence": seal.sequence if seal else None,
        "number": event.number,
        "at": iso(event.at),
        "actor_kind": event.actor_kind,
        "actor": event.actor_label,
        "verb": event.verb,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "object": event.object_label,
        "address": event.address,
        "detail": event.detail,
        "hash": seal.hash if seal else None,
    }
