"""Code from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.spec import Source


@dataclass(frozen=True)
class Fetched:
    directory: Path
    file: str
    commit: str
    digest: str


def fetch(
    process_id: str, source: Source, file: str, environment: Mapping[str, str], *, commit: str = ""
) -> Fetched | None:
    return None


def discard(process_id: str) -> None:
    pass
