"""Daemons that outlive the portal, at most one for each lock file.

The lock is taken *before* the daemon is born and inherited by it: it is held from before its first instruction until
the kernel has ended it and every fork of it. So a free lock proves that nothing is left, also when the portal died
between making a daemon and writing down that it did.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from portal.clouds.base import CloudError


def start(
    command: Sequence[str], *, lock: Path, log: Path, environment: Mapping[str, str], fresh: Sequence[Path] = ()
) -> bool:
    """Start a daemon in a session of its own; False if it runs already.

    What an earlier one left in ``fresh`` is removed, and only once the lock is ours: somebody who came a moment too
    late must not remove the log that the running one writes.

    It gets the descriptor of the lock as its last argument, and must fork once and let the first process end: then it
    has no parent here, and we wait for no longer than that.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _take(descriptor):
            return False
        for path in fresh:
            path.unlink(missing_ok=True)
        with open(log, "ab") as output:
            starter = subprocess.Popen(
                [*command, str(descriptor)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=lock.parent,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        try:
            code = starter.wait(timeout=30)
        except subprocess.TimeoutExpired:
            starter.kill()
            starter.wait()
            code = -9
        if code != 0:
            raise CloudError("DaemonFailed", f"{command[-2]} ended with {code}: {tail(log)}", f"See {log}.")
        return True
    finally:
        os.close(descriptor)


def held(lock: Path) -> bool:
    """Whether the daemon of this lock, or a fork of it, lives."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def tail(log: Path, size: int = 1000) -> str:
    """The end of a log, for a message."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - size))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _take(descriptor: int) -> bool:
    """Take the lock; tried for a moment, since ``held`` touches it for an instant."""
    deadline = time.monotonic() + 0.1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        else:
            return True
