"""The tables of a filesystem catalog, by looking at names only: which there are, how large, how new.

A Parquet file is a table. So is a folder with Parquet files in it, or with partitions (``day=2026-11-01``), as a whole.
Any other folder is a schema. ``sales/orders.parquet`` is ``sales.orders``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from portal.clouds.base import FileEntry, Files

MAX_ENTRIES = 5000
MAX_SECONDS = 3.0
MAX_DEPTH = 8
SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """A table; ``size`` in bytes over ``files`` files, ``modified`` when the newest of them was, in UTC."""

    name: str
    path: str
    size: int
    files: int
    modified: datetime


@dataclass
class Tables:
    """Those that were found; ``cut`` where there was more to look at than a page waits for."""

    tables: list[Table] = field(default_factory=list)
    cut: bool = False


@dataclass
class _Walk:
    files: Files
    until: float
    left: int
    cut: bool = False

    def list(self, path: str) -> Sequence[FileEntry]:
        """A folder's entries that count, as long as there is time."""
        if self.cut or time.monotonic() > self.until:
            self.cut = True
            return []
        entries = [entry for entry in self.files.list(path) if entry.name[0] not in "._"]
        self.left -= len(entries)
        self.cut = self.left < 0
        return entries


def tables_below(files: Files, directory: str) -> Tables:
    """The tables below a folder, by name. Raises CloudError where the folder cannot be read."""
    walk = _Walk(files, time.monotonic() + MAX_SECONDS, MAX_ENTRIES)
    found = _schema(walk, walk.list(directory), ())
    return Tables(sorted(found, key=lambda table: table.name), walk.cut)


def _schema(walk: _Walk, entries: Sequence[FileEntry], place: tuple[str, ...]) -> list[Table]:
    found = []
    for entry in entries:
        name = ".".join([*place, _stem(entry.name)])
        if _is_parquet(entry):
            found.append(Table(name, entry.path, entry.size, 1, entry.modified))
        elif entry.kind == "folder" and len(place) < MAX_DEPTH:
            inner = walk.list(entry.path)
            if any(_is_parquet(each) or _is_partition(each) for each in inner):
                parts = _parts(walk, inner, len(place))
                newest = max((part.modified for part in parts), default=entry.modified)
                found.append(Table(name, entry.path, sum(part.size for part in parts), len(parts), newest))
            else:
                found += _schema(walk, inner, (*place, entry.name))
    return found


def _parts(walk: _Walk, entries: Sequence[FileEntry], depth: int) -> list[FileEntry]:
    """The files of one table, in its partitions as well."""
    found = [entry for entry in entries if _is_parquet(entry)]
    for entry in entries:
        if entry.kind == "folder" and depth < MAX_DEPTH:
            found += _parts(walk, walk.list(entry.path), depth + 1)
    return found


def _is_parquet(entry: FileEntry) -> bool:
    return entry.kind == "file" and entry.name.endswith(SUFFIXES)


def _is_partition(entry: FileEntry) -> bool:
    return entry.kind == "folder" and "=" in entry.name


def _stem(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name
