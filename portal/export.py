"""Tables as files, streamed in pieces of bounded size: CSV for spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection
from django.http import StreamingHttpResponse

ROW_GROUP = 20_000
"""Rows of Parquet that are in memory at a time."""

PLACES = Decimal("1e-12")
"""To which amounts are rounded (half up) where a column needs one number of decimals."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet takes for a formula."""


class Kind(Enum):
    """What a column holds. Times are UTC, amounts are ``Decimal``; any value may be None."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    AMOUNT = "amount"


@dataclass(frozen=True)
class Column:
    """A column of a file."""

    name: str
    kind: Kind = Kind.TEXT


Rows = Sequence[Sequence[Any]]


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet computes: an apostrophe keeps one that looks like a formula from being one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_csv(columns: Sequence[Column], batches: Iterable[Rows]) -> Iterator[bytes]:
    """A line of names, then a piece for each batch of rows."""
    yield (",".join(column.name for column in columns) + "\r\n").encode()
    for rows in batches:
        lines = io.StringIO()
        writer = csv.writer(lines)
        for row in rows:
            writer.writerow([_cell(column.kind, value) for column, value in zip(columns, row, strict=True)])
        yield lines.getvalue().encode()


def as_parquet(columns: Sequence[Column], batches: Iterable[Rows]) -> Iterator[bytes]:
    """A row group for some ten thousand rows; amounts have twelve decimals."""
    import pyarrow  # 40 MB of memory that most portals never use
    import pyarrow.parquet

    types = {
        Kind.TEXT: pyarrow.string(),
        Kind.NUMBER: pyarrow.int64(),
        Kind.TIME: pyarrow.timestamp("us", tz="UTC"),
        Kind.AMOUNT: pyarrow.decimal128(38, 12),
    }
    schema = pyarrow.schema([(column.name, types[column.kind]) for column in columns])
    sink = _Sink()
    with pyarrow.parquet.ParquetWriter(sink, schema) as writer:
        for rows in _groups(batches):
            values = ([_value(column.kind, row[place]) for row in rows] for place, column in enumerate(columns))
            arrays = [pyarrow.array(cells, field.type) for cells, field in zip(values, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    suffix: str
    content_type: str
    write: Callable[[Sequence[Column], Iterable[Rows]], Iterator[bytes]]


FORMATS = {
    form.suffix: form
    for form in (
        Format("csv", "text/csv; charset=utf-8", as_csv),
        Format("parquet", "application/vnd.apache.parquet", as_parquet),
    )
}


def response(form: Format, name: str, columns: Sequence[Column], batches: Iterable[Rows]) -> StreamingHttpResponse:
    """The file as a download, called ``name`` and the format's suffix."""
    found = StreamingHttpResponse(stream(form.write(columns, batches)), content_type=form.content_type)
    found["Content-Disposition"] = f'attachment; filename="{name}.{form.suffix}"'
    return found


async def stream(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """All pieces. The database connection goes back after each: however slowly somebody reads, they hold none."""

    def read() -> bytes | None:
        try:
            return next(pieces, None)
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    while (piece := await sync_to_async(read)()) is not None:
        yield piece


def iso(at: datetime | None) -> str:
    """A time in UTC; nothing where there is none."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if at else ""


class _Sink(io.RawIOBase):
    """A file that is only written to, of which somebody takes away what is there."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _cell(kind: Kind, value: Any) -> Any:
    if value is None:
        return ""
    if kind is Kind.TIME:
        return iso(value)
    if kind is Kind.AMOUNT:
        return f"{value.normalize():f}"
    return value if kind is Kind.NUMBER else harmless(str(value))


def _value(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.AMOUNT:
        return value.quantize(PLACES, ROUND_HALF_UP)
    return str(value) if kind is Kind.TEXT else value


def _groups(batches: Iterable[Rows]) -> Iterator[list[Sequence[Any]]]:
    waiting: list[Sequence[Any]] = []
    for rows in batches:
        waiting += rows
        if len(waiting) >= ROW_GROUP:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
