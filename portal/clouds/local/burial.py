"""What is left of a run: its processes where nobody watches it any more, and its files that nobody needs.

Standard library only, for the node agent and the supervisors import this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from portal.clouds.local import kernel, trees

_WATCHER = "The process that watched it on its machine was killed, and the run with it."
_MACHINE = "The machine that it ran on went away."


def bury(directory: Path) -> None:
    """Kill what an unwatched run left behind, and record it as lost when it was last seen alive."""
    mark = f"PORTAL_RUN={directory.name}"
    for _ in range(100):
        strays = [
            *kernel.marked(mark),
            *(who for who in kernel.get(directory / "tree.json") or [] if kernel.alive(who)),
        ]
        if not strays:
            break
        for who in strays:
            kernel.send(who, signal.SIGKILL)
        time.sleep(0.02)
    status = kernel.get(directory / "status.json") or {}
    try:
        ended = (directory / "status.json").stat().st_mtime
    except FileNotFoundError:
        ended = time.time()
    if directory.exists():
        detail = _WATCHER if kernel.alive((kernel.get(directory / "spec.json") or {}).get("agent")) else _MACHINE
        times = {"started": status.get("started"), "ended": ended}
        lost = {"reason": "LOST", "detail": detail, "code": None, "signal": None, **times}
        kernel.put_for_good(directory / "exit.json", lost)
        clean(directory)


def end_orphans(supervisors: Collection[int]) -> None:
    """Kill what came to this process from a supervisor that was killed: whatever is below it and below no other one."""
    for _ in range(100):
        below = kernel.descendants(os.getpid())
        orphans = [pid for pid, parent in below.items() if parent == os.getpid() and pid not in supervisors]
        living = [pid for pid in orphans if kernel.start_time(pid) is not None]
        if not living:
            return
        for pid in living:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def clean(directory: Path) -> None:
    """Remove what a run needs only while it lives: its copy of the code, and its temporary files."""
    temporary = (kernel.get(directory / "spec.json") or {}).get("temporary")
    for path in (directory / "bundle", *([Path(temporary)] if temporary else [])):
        with contextlib.suppress(OSError):
            trees.remove(path)
