"""What an attempt needs before its process can start: its code, and a record of which code exactly that was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from jobs import sources
from jobs.models import Run
from jobs.spec import CodeType, SourceType
from portal.clouds.base import Cloud, CloudError, Files, Process, Root
from portal.clouds.base import LaunchMode as Mode

PROGRAMS = Path(__file__).resolve().parent / "programs"
MAX_SQL = 1 << 20
"""Bytes of a query that comes from a file."""

BLOCK = 1 << 20
OLD_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Prepared:
    """Where the code lies. ``commit`` is a git source's, ``digest`` the SHA-256 of what runs."""

    file: str
    root: Root
    directory: Root
    bundle: str = ""
    arguments: list[str] = field(default_factory=list)
    mode: Mode = Mode.SPAWN
    commit: str = ""
    digest: str = ""

    def process(self, run: Run, *, environment: dict[str, str], workers: int) -> Process:
        """The process to start."""
        return Process(
            id=run.process_id,
            file=self.file,
            arguments=self.arguments,
            environment=environment,
            mode=self.mode,
            workers=workers,
            timeout=run.timeout_minutes * 60.0,
            root=self.root,
            directory=self.directory,
            bundle=self.bundle,
        )


def prepare(run: Run, cloud: Cloud, environment: dict[str, str]) -> Prepared | None:
    """Bring the code of an attempt into its place; None while it is being fetched.

    Can be asked again at any time and after any crash. Raises CloudError, permanent where another try changes nothing.
    """
    files = cloud.files(run.cluster.workspace.handle)
    kind = SourceType(run.source_type)
    commit = ""
    fetched: Path | None = None
    if is_fetched(run):
        commit = run.handle.get("source", {}).get("commit", "")
        found = sources.fetch(run.process_id, run.source(), run.file, environment, commit=commit)
        if found is None:
            return None
        fetched, file, commit, digest = found.directory, found.file, found.commit, found.digest
    elif kind is SourceType.WORKSPACE:
        file = run.file
        digest = _digest_of(files, file)
    else:
        file, digest = "", hashlib.sha256(run.sql.encode()).hexdigest()
    place = Root.BUNDLE if fetched else Root.WORKSPACE
    match CodeType(run.code_type):
        case CodeType.PYTHON:
            return Prepared(
                file=file,
                root=place,
                directory=place,
                bundle=str(fetched or ""),
                arguments=run.arguments,
                mode=Mode(run.mode),
                commit=commit,
                digest=digest,
            )
        case CodeType.IPYNB:
            bundle = fetched or _fresh(run)
            _put_programs(bundle / ".portal", "run_notebook.py", "outcome.py")
            return Prepared(
                file=".portal/run_notebook.py",
                root=Root.BUNDLE,
                directory=place,
                bundle=str(bundle),
                arguments=[file, *run.arguments],
                commit=commit,
                digest=digest,
            )
        case CodeType.SQL:
            text = run.sql if kind is SourceType.SQL else _query(files, file, fetched)
            bundle = _fresh(run)
            _put_programs(bundle, "run_sql.py", "sql_text.py", "sql_result.py", "outcome.py")
            (bundle / "query.sql").write_text(text)
            (bundle / "parameters.json").write_text(json.dumps(run.parameters))
            return Prepared(
                file="run_sql.py",
                root=Root.BUNDLE,
                directory=Root.BUNDLE,  # Java leaves a log where it starts
                bundle=str(bundle),
                commit=commit,
                digest=digest,
            )


def is_fetched(run: Run) -> bool:
    """Whether the code comes from outside, which takes time."""
    return run.source_type in {SourceType.GIT, SourceType.URL, SourceType.S3}


def bundles_of(run: Run) -> Path:
    """Where what is made for an attempt lies until its process has started."""
    return Path(settings.PORTAL_HOME) / "bundles" / run.process_id


def discard(run: Run) -> None:
    """Remove what was made or fetched for an attempt; the cloud has its own copy, or needs none."""
    sources.discard(run.process_id)
    shutil.rmtree(bundles_of(run), ignore_errors=True)


def forget_old() -> int:
    """Remove what crashes left behind, and return how many there were. What is a day old belongs to no start."""
    count = 0
    for folder in (Path(settings.PORTAL_HOME) / "bundles", Path(settings.PORTAL_HOME) / "sources"):
        for place in folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - place.stat().st_mtime > OLD_SECONDS:
                    shutil.rmtree(place, ignore_errors=True)
                    count += 1
    return count


def _fresh(run: Run) -> Path:
    bundle = bundles_of(run) / uuid.uuid4().hex  # a worker that lost its lease may still be copying its own
    bundle.mkdir(parents=True, mode=0o700)
    return bundle


def _put_programs(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(PROGRAMS / name, folder / name)


def _digest_of(files: Files, path: str) -> str:
    digest = hashlib.sha256()
    with files.open(path) as source:
        while block := source.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _query(files: Files, path: str, fetched: Path | None) -> str:
    opened = (fetched / path).open("rb") if fetched else files.open(path)
    with opened as source:
        text = source.read(MAX_SQL + 1)
    if len(text) > MAX_SQL:
        raise CloudError("QueryTooLong", f"{path} is longer than 1 MB.", "A query is a text.", permanent=True)
    try:
        return str(text.decode())
    except UnicodeDecodeError:
        raise CloudError("QueryNotText", f"{path} is not a text in UTF-8.", permanent=True) from None
