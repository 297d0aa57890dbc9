"""Code from outside: fetched into a directory of the portal by a process of its own, which is looked at until it ends.

Each attempt has a directory, and whoever fetches holds its lock: the lock dies with the process, so one that was killed
is followed by another, and two workers never start two.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

from jobs.fetching.order import Order
from jobs.spec import Source
from portal.clouds.base import CloudError

STARTS = 3
"""How often a fetch may die without an outcome."""

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Fetched:
    """The code: ``file`` is relative to ``directory``; ``commit`` is git's, ``digest`` the SHA-256 of it all."""

    directory: Path
    file: str
    commit: str
    digest: str


def fetch(
    process_id: str, source: Source, file: str, environment: Mapping[str, str], *, commit: str = ""
) -> Fetched | None:
    """The code of an attempt; None while it is being fetched, which starts with the first call.

    Raises CloudError(SourceFailed); where it is not permanent, the next call tries again.
    """
    place = _place(process_id)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    result = place / "result.json"
    if not result.exists():
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not result.exists():
                _start(place, lock, source, file, environment, commit)
                return None
        except BlockingIOError:
            return None
        finally:
            os.close(lock)
    outcome = json.loads(result.read_text())
    if "error" in outcome:
        error = outcome["error"]
        if not error["permanent"]:
            discard(process_id)
        raise CloudError("SourceFailed", error["message"], error["hint"], permanent=error["permanent"])
    return Fetched(place / "source", **outcome["ok"])


def discard(process_id: str) -> None:
    """Remove what was fetched for an attempt."""
    shutil.rmtree(_place(process_id), ignore_errors=True)


def _place(process_id: str) -> Path:
    return Path(settings.PORTAL_HOME) / "sources" / process_id


def _start(place: Path, lock: int, source: Source, file: str, environment: Mapping[str, str], commit: str) -> None:
    starts = place / "starts"
    count = len(starts.read_text()) if starts.exists() else 0
    if count >= STARTS:
        discard(place.name)
        raise CloudError(
            "SourceFailed", "Fetching the source was interrupted again and again.", "Run it again.", permanent=True
        )
    starts.write_text("." * (count + 1))
    credentials = {name: environment[name] for name in CREDENTIALS if environment.get(name)}
    if settings.PORTAL_S3_ENDPOINT:
        credentials["endpoint"] = settings.PORTAL_S3_ENDPOINT
    order = Order(
        type=source.type.value,
        location=source.location,
        reference=source.reference,
        username=source.username,
        token=source.token,
        file=file,
        commit=commit,
        directory=str(place / "source"),
        limit=settings.PORTAL_SOURCE_LIMIT_MB << 20,
        private=settings.PORTAL_PRIVATE_ADDRESSES,
        credentials=credentials,
    )
    with (place / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "jobs.fetching", str(place / "result.json")],
            cwd=settings.BASE_DIR,
            env={"PATH": os.defpath, "HOME": str(place), "LANG": "C.UTF-8", **_trust()},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
        )
    assert child.stdin
    with child.stdin:
        child.stdin.write(json.dumps(asdict(order)).encode())


def _trust() -> dict[str, str]:
    """The operator's own certificate authorities, where there are any."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    return {name: os.environ[name] for name in names if name in os.environ}
