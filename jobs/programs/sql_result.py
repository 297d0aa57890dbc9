"""Writing what a query made: Parquet files, a description, and the first rows for a page.

result/part-00000.parquet …   the rows, in the order of the query
preview.json                  the first rows; what JSON cannot hold is text
result.json                   how many rows of which columns, in how many bytes; it comes last: all is there

Until all rows are written, they are in ``.result``.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

PREVIEW_ROWS = 1000
PREVIEW_BYTES = 4 << 20
LONGEST_TEXT = 5000
"""Characters of a value in the preview."""


def repeated(names: Sequence[object]) -> str | None:
    """The first name that more than one column has; Parquet files cannot hold both."""
    known = list(map(str, names))
    return next((name for at, name in enumerate(known) if name in known[:at]), None)


def write(frame: Any, output: Path) -> int:
    """Write a frame and say how many rows it has. Each worker writes its part of one that is spread over them."""
    import pandas
    from pyarrow import parquet

    unfinished, folder = output / ".result", output / "result"
    try:
        if type(frame) is pandas.DataFrame:
            unfinished.mkdir()
            frame.to_parquet(unfinished / "part-00000.parquet", index=False)
        else:
            frame.to_parquet(str(unfinished))
    except Exception:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _in_order(unfinished)
    unfinished.rename(folder)
    parts = sorted(folder.glob("*.parquet"))
    files = [parquet.ParquetFile(part) for part in parts]
    rows: int = sum(file.metadata.num_rows for file in files)
    schema = files[0].schema_arrow
    shown = _first_rows(files)
    described = {
        "rows": rows,
        "schema": [{"name": field.name, "type": sql_type(field.type)} for field in schema],
        "bytes": sum(part.stat().st_size for part in parts),
        "truncated": len(shown) < rows,
    }
    _put(output / "preview.json", {"columns": schema.names, "rows": shown})
    _put(output / "result.json", described)
    return rows


def sql_type(kind: Any) -> str:
    """An Arrow type by its name in SQL."""
    from pyarrow import types

    if types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz is None else "TIMESTAMP WITH TIME ZONE"
    if types.is_dictionary(kind):
        return sql_type(kind.value_type)
    name = re.sub(r"\W.*", "", str(kind))  # list<element: int64> → list
    return _TYPES.get(name, name.upper())


_NAMES = {
    "TINYINT": ("int8",),
    "SMALLINT": ("int16", "uint8"),
    "INTEGER": ("int32", "uint16"),
    "BIGINT": ("int64", "uint32"),
    "DECIMAL(20, 0)": ("uint64",),
    "FLOAT": ("halffloat", "float"),
    "VARCHAR": ("string", "large_string", "string_view"),
    "VARBINARY": ("binary", "large_binary", "fixed_size_binary"),
    "BOOLEAN": ("bool",),
    "DATE": ("date32", "date64"),
    "TIME": ("time32", "time64"),
    "INTERVAL": ("duration",),
    "ARRAY": ("list", "large_list", "fixed_size_list"),
}
_TYPES = {kind: name for name, kinds in _NAMES.items() for kind in kinds}


def plain(value: Any) -> Any:
    """A value as JSON has it: None, bool, int, float, or a text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, datetime.datetime):
        text = value.isoformat(sep=" ")
    elif isinstance(value, (bytes, bytearray)):
        text = f"0x{value.hex()}"
    elif isinstance(value, (list, tuple, dict)):
        text = json.dumps(_nested(value), ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _nested(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nested(each) for each in value]
    return str(value) if isinstance(value, Decimal) else plain(value)


def _in_order(folder: Path) -> None:
    """Number the parts as the ranks that wrote them are: their names begin with chance, ``part-b005462-01``."""
    parts = sorted(folder.glob("*.parquet"), key=lambda part: int(part.stem.rpartition("-")[2]))
    for number, part in enumerate(parts):
        part.rename(folder / f"part-{number:05d}.parquet")


def _first_rows(files: Sequence[Any]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    size = 0
    for file in files:
        for batch in file.iter_batches(batch_size=PREVIEW_ROWS):
            columns = [column.to_pylist() for column in batch.slice(0, PREVIEW_ROWS - len(rows)).columns]
            for row in zip(*columns, strict=True):
                shown = [plain(value) for value in row]
                size += len(json.dumps(shown, ensure_ascii=False))
                if size > PREVIEW_BYTES:
                    return rows
                rows.append(shown)
            if len(rows) == PREVIEW_ROWS:
                return rows
    return rows


def _put(path: Path, content: Any) -> None:
    half = path.with_name(f".{path.name}")
    half.write_text(json.dumps(content, ensure_ascii=False))
    half.replace(path)
