"""What an attempt left behind: its logs, without secret values, and its outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jobs.environment import secret_values
from jobs.models import Run, RunAttempt
from portal.clouds.base import Cloud, CloudError, FileEntry, Files, LogChunk, LogLine, LogMatches, LogStream, Outputs
from portal.masking import Masker
from workspaces.clouds import cloud_of
from workspaces.models import Workspace

MOST_OUTPUTS = 500
MOST_PREVIEW = 8 << 20
"""Bytes of a preview; the program that writes it keeps to 1,000 rows."""

FAILURE = ".failure"
"""Where programs of ours tell why they failed (``programs/outcome.py``)."""

NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "REAL", "DECIMAL")
"""How the names of the types of numbers begin."""

MOST_FAILURE = 8000
"""Bytes of it."""


class Log:
    """One stream of an attempt's log. Whoever reads it here reads no secret that its run was given."""

    def __init__(self, workspace: Workspace, run: Run, attempt: RunAttempt, stream: LogStream) -> None:
        self.cloud, self.run, self.attempt, self.stream = cloud_of(workspace.cloud_configuration), run, attempt, stream
        self.masker = Masker(secret_values(attempt))

    @property
    def ended(self) -> bool:
        """Whether nothing will be added any more."""
        return self.attempt.ended_at is not None

    def read(self, offset: int, limit: int) -> LogChunk:
        """Up to ``limit`` bytes from an offset; a negative one counts from the end."""
        return self.masker.read(self._raw, offset, limit, ended=self.ended)

    def link(self, name: str) -> str | None:
        """An address of the provider's at which a browser gets the whole log; None where the portal has to bring it:
        nobody else masks secrets."""
        if not (self.ended and self.masker.idle):
            return None
        return self.cloud.log_link(self.attempt.handle, self.stream, name)

    def search(self, text: str, offset: int, limit: int) -> LogMatches:
        """Lines that hold the text, as they are shown: what is in a secret is not found, or it could be guessed."""
        found = self.cloud.search(self.run.cluster.handle, self.attempt.handle, self.stream, text, offset, limit)
        wanted = text.encode().lower()
        lines = [LogLine(line.offset, self.masker.mask(line.data)) for line in found.lines]
        return LogMatches([line for line in lines if wanted in line.data.lower()], found.next_offset, found.size)

    def _raw(self, offset: int, limit: int) -> LogChunk:
        return self.cloud.logs(self.run.cluster.handle, self.attempt.handle, self.stream, offset, limit)


@dataclass(frozen=True)
class Result:
    """The table that a query made: its schema as (name, type), its number of rows, and the first of them as text."""

    rows: int
    columns: list[tuple[str, str]]
    preview: list[list[Any]]

    @property
    def heads(self) -> list[tuple[str, str, bool]]:
        """The columns, and whether each is of numbers, which stand in line."""
        return [(name, kind, kind.startswith(NUMBERS)) for name, kind in self.columns]

    @property
    def lines(self) -> list[list[tuple[Any, bool]]]:
        """The rows that are shown, each value with the same."""
        numbers = [number for _, _, number in self.heads]
        return [list(zip(row, numbers, strict=False)) for row in self.preview]

    @property
    def size(self) -> str:
        """How many rows there are, and are shown."""
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return rows if len(self.preview) >= self.rows else f"{rows}; the first {len(self.preview):,} are shown"


def outputs(workspace: Workspace, attempt: RunAttempt) -> list[FileEntry]:
    """The files that an attempt wrote, by path; what cannot be read now, or is hidden, is not listed."""
    files = files_of(workspace, attempt)
    try:
        return list(islice(_below(files, ""), MOST_OUTPUTS))
    except CloudError:
        return []


def result(workspace: Workspace, attempt: RunAttempt) -> Result | None:
    """What a query made; None where there is none (yet)."""
    files = files_of(workspace, attempt)
    try:
        told, shown = _json(files, "result.json"), _json(files, "preview.json")
        columns = [(str(column["name"]), str(column["type"])) for column in told["schema"]]
        return Result(int(told["rows"]), columns, list(shown["rows"]))
    except (CloudError, ValueError, KeyError, TypeError):
        return None


def failure(cloud: Cloud, run: Run) -> str:
    """What a program of ours said when it failed; empty where it said nothing. No value of a secret is in it."""
    try:
        with cloud.outputs(run.handle).open(FAILURE) as file:
            said = file.read(MOST_FAILURE)
    except CloudError:
        return ""
    attempt = RunAttempt.objects.of(run).get(number=run.attempt)
    return Masker(secret_values(attempt)).mask(said).decode(errors="replace").replace("\0", "")


def files_of(workspace: Workspace, attempt: RunAttempt) -> Outputs:
    """Where an attempt put its outputs."""
    return cloud_of(workspace.cloud_configuration).outputs(attempt.handle)


def _below(files: Files, path: str) -> Iterator[FileEntry]:
    for entry in files.list(path):
        if entry.name.startswith("."):
            continue
        if entry.kind == "folder":
            yield from _below(files, entry.path)
        elif entry.kind == "file":
            yield entry


def _json(files: Files, path: str) -> Any:
    with files.open(path) as file:
        return json.loads(file.read(MOST_PREVIEW))
