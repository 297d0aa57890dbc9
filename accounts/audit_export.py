"""The audit log as a file: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC
from typing import Any

from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.db import close_old_connections, connection

from accounts.audit_search import Search
from accounts.models import AuditEvent

COLUMNS = (
    *("sequence", "number", "at", "actor_kind", "actor", "verb", "object_type", "object_id", "object"),
    *("address", "detail", "hash"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet takes for a formula."""


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


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet computes."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


async def stream(search: Search, kind: str, before: int) -> AsyncIterator[bytes]:
    """All that was found, older than the number ``before``, in pieces of bounded size.

    The connection goes back after each: however slowly somebody reads, they hold none.
    """
    _, head, write = FORMATS[kind]
    batches = search.batches(before=before)

    def read() -> bytes | None:
        try:
            events = next(batches, None)
            return None if events is None else write(events).encode()
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    yield head.encode()
    while (piece := await sync_to_async(read)()) is not None:
        yield piece


def _row(event: AuditEvent) -> dict[str, Any]:
    seal = getattr(event, "seal", None)
    return {
        "sequence": seal.sequence if seal else None,
        "number": event.number,
        "at": f"{event.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
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
