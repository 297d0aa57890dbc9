"""What keeps a run from filling the disk of its machine, and with it the portal's: a reserve that stays free, and a cap
on each of its logs.

Standard library only, for the supervisor of a run uses this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from portal.clouds.local import kernel

RESERVE, SHARE = 1 << 30, 0.05
"""What stays free unless the operator says otherwise: 1 GiB, or this part of a smaller disk."""

INODES = 1000
"""How many more files a disk must be able to hold."""

ALLOWANCE = 16 << 20
"""Bytes that a run may still write while the disk is low: as much as logs and the like take."""

SLACK = 64 << 20
TAIL = 64 << 10


def shortage(path: Path | str, reserve: int | None) -> float:
    """How much of the reserve is used up: 0 where all of it is free, 1 where the disk is full."""
    disk = os.statvfs(path)
    wanted = min(RESERVE, int(disk.f_blocks * disk.f_frsize * SHARE)) if reserve is None else reserve
    if wanted == 0:
        return 0.0
    free = disk.f_bavail * disk.f_frsize / wanted
    if disk.f_files:  # some filesystems have as many as they have room for
        free = min(free, disk.f_favail / INODES)
    return max(0.0, 1.0 - free)


class DiskWatch:
    """Looks whose fault it is that a disk runs low.

    Several runs may share a disk. The one that goes on writing while the reserve is being used up has to end, so that
    the others can go on. Once half of the reserve is gone, all have to.
    """

    def __init__(self, places: Sequence[str], reserve: int | None) -> None:
        self.places, self.reserve = places, reserve
        self.before = 0.0

    def full(self, processes: Sequence[int]) -> bool:
        """Whether the run of these processes has to end."""
        used = max(shortage(place, self.reserve) for place in self.places)
        written = kernel.written(processes)
        if used == 0.0:
            self.before = written
            return False
        return used > 0.5 or written - self.before > ALLOWANCE or written == float("inf")

    def critical(self) -> bool:
        """Whether a program that fails now may fail for want of room."""
        return max(shortage(place, self.reserve) for place in self.places) > 0.5


class LogCap:
    """Keeps one log to its limit: its beginning, and once the run has ended, the last of it.

    What is written beyond the limit is taken off again and again; the job goes on, and never knows. Readers see nothing
    of that, for ``<log>.cut`` says where the log ends for them until then.
    """

    def __init__(self, log: Path, limit: int) -> None:
        self.log, self.limit = log, limit
        self.mark = log.with_name(f"{log.name}.cut")
        self.cut = 0
        self.tail = b""

    def look(self) -> None:
        """Take off what is too much by now."""
        size = _size(self.log)
        if not self.cut and size > self.limit:
            self._begin()
        if self.cut and size > self.cut + min(SLACK, self.limit):
            self._take_off()

    def finish(self) -> None:
        """Once nobody writes any more: show the end."""
        if not self.cut:
            return
        self._take_off()
        with open(self.log, "ab") as file:
            file.write(b"[portal] Here something was left out. This is the end:\n")
            file.write(self.tail[self.tail.find(b"\n", 0, -1) + 1 :])
        self.mark.unlink(missing_ok=True)

    def _begin(self) -> None:
        with open(self.log, "r+b") as file:
            start = max(0, self.limit - TAIL)
            file.seek(start)
            whole = file.read(self.limit - start).rfind(b"\n") + 1
            file.seek(start + whole if whole else self.limit)
            file.write(b"" if whole else b"\n")
            file.write(b"[portal] This log has reached its limit of %d MB. " % (self.limit >> 20))
            file.write(b"What follows is left out; once the run has ended, the last of it is shown.\n")
            cut = file.tell()
        kernel.put(self.mark, cut)
        self.cut = cut

    def _take_off(self) -> None:
        with open(self.log, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(self.cut, size - TAIL))
            self.tail = (self.tail + file.read().lstrip(b"\0"))[-TAIL:]
            file.truncate(self.cut)


def readable_size(log: Path, size: int) -> int:
    """The end of a log for its readers."""
    cut = kernel.get(log.with_name(f"{log.name}.cut"))
    return size if cut is None else min(size, cut)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
