"""What we ask of the kernel: who a process is, what descends from it, what it weighs, and how it is ended.

Standard library only, for the node agent imports this too. A process is known by pid, start time and boot id together:
a pid alone is handed out again. Signals from the portal go through a pidfd, so that they cannot hit a newcomer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Identity = dict[str, Any]
"""``{"pid": ..., "start": clock ticks since boot, "boot": boot id}``."""

PAGE = os.sysconf("SC_PAGE_SIZE")
_ROOM = 4096
"""Bytes: more than any exit takes."""

_BRAND = 10
"""RLIMIT_LOCKS, of which Linux only keeps the number since 2.4.25. ``resource`` does not name it."""


def boot_id() -> str:
    """Differs after each boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def identity(pid: int) -> Identity:
    """The identity of a process; that of a dead one is never alive."""
    return {"pid": pid, "start": start_time(pid), "boot": boot_id()}


def alive(who: Identity | None) -> bool:
    """Whether exactly this process lives."""
    if who is None or who["start"] is None or who["boot"] != boot_id():
        return False
    return bool(start_time(who["pid"]) == who["start"])


def descendants(pid: int) -> dict[int, int]:
    """All living or unreaped descendants, whatever session or group they are in, each with its parent."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        fields = _stat(other)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(other)
    found: dict[int, int] = {}
    queue = [pid]
    while queue:
        parent = queue.pop()
        below = children.get(parent, [])
        found.update(dict.fromkeys(below, parent))
        queue += below
    return found


def memory(pids: Iterable[int], interesting: int) -> int:
    """Bytes of memory the processes use together.

    Resident sizes count shared pages once for each process, so where their sum exceeds ``interesting`` the
    proportional sizes, which cost the kernel a walk through the page tables, are added up instead.
    """
    resident = sum(_resident(pid) for pid in pids)
    return resident if resident <= interesting else sum(_proportional(pid) for pid in pids)


def written(pids: Iterable[int]) -> float:
    """Bytes that the processes, and the children they have buried, gave the kernel to write to disks so far. Infinite
    where one of them keeps us from looking."""
    total = 0.0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/io") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("write_bytes:"))
        except PermissionError:
            return float("inf")
        except (OSError, StopIteration):
            continue
    return total


def program(pid: int) -> str:
    """The name of the program that a process runs, of up to 15 characters; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


def variable(pid: int, name: str) -> str:
    """The value of a variable that a process was started with; empty where there is none."""
    start = f"{name}=".encode()
    return next((entry[len(start) :].decode() for entry in _environment(pid) if entry.startswith(start)), "")


def brand(mark: str) -> None:
    """Give this process, and all that will descend from it, a number made from the mark, as the limit of a resource.

    Unlike a variable of the environment, it stays with a program that clears its environment, closes its files and
    leaves its session, as daemons do. Without privileges it can be lowered, on purpose, and not be raised.
    """
    with contextlib.suppress(ValueError, OSError):  # somebody has limited it already: the environment has to do
        resource.setrlimit(_BRAND, (_number(mark), _number(mark)))


def marked(mark: str) -> list[Identity]:
    """The processes that were given the environment entry ``mark`` (``NAME=value``) or are branded with it, except
    ourselves."""
    entry, number = mark.encode(), str(_number(mark)).encode()
    found = []
    for pid in _pids():
        if pid != os.getpid() and (entry in _environment(pid) or number in _limits(pid)):
            who = identity(pid)
            if who["start"] is not None:
                found.append(who)
    return found


def send(who: Identity, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(who["pid"])
        try:
            if alive(who):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def put(path: Path, content: Any, *, durable: bool = False) -> None:
    """Write JSON whole or not at all."""
    temporary = _beside(path)
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(path)


def keep_room(path: Path) -> None:
    """Take the room that ``put_for_good`` will need, so that what it says can be said on a full disk."""
    with open(os.open(_room(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b" " * _ROOM)
        os.fsync(file.fileno())


def put_for_good(path: Path, content: Any) -> None:
    """Write JSON whole and durably, once: the first writer wins. Into the room that was kept for it, where there is
    some; blanks after JSON do no harm."""
    temporary, text = _beside(path), json.dumps(content).encode()
    try:
        with contextlib.suppress(FileNotFoundError):
            os.rename(_room(path), temporary)  # one writer's only
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path)


def get(path: Path) -> Any:
    """Read JSON; None where the file is not there."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _room(path: Path) -> Path:
    return path.with_name(f".{path.name}.room")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")


def _number(mark: str) -> int:
    """Of 18 digits, and no limit that anybody sets."""
    return 10**17 + int.from_bytes(hashlib.sha256(mark.encode()).digest()[:7], "big")


def _environment(pid: int) -> list[bytes]:
    """The entries that a process was started with; none where we may not look."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _limits(pid: int) -> list[bytes]:
    """All words of a process's limits."""
    try:
        return Path(f"/proc/{pid}/limits").read_bytes().split()
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/pid/stat from the third (state) on; the second may hold blanks and brackets."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    except OSError:
        return _resident(pid)
