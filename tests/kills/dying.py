"""Processes that are really killed, at every thing they do to the world, one after the other.

``killed_at(n, act)`` forks, and the fork kills itself with signal 9 just before the ``n``-th *effect* of ``act``: a
statement that writes by itself, a commit, a file written, made, linked, renamed or removed, a process started, a
connection made, an answer awaited. Between two effects nothing can be told apart from outside, so to try every ``n``
until nothing is left to be killed is to kill at every line. The fork is a real process: no ``finally`` runs in it, and
what it held is let go by the kernel and by PostgreSQL.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
FILES = {"os.mkdir", "os.link", "os.symlink", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.truncate"}
OTHERS = {"subprocess.Popen", "socket.connect", "os.kill"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

connection: Any = connections[DEFAULT_DB_ALIAS]
_inherited: list[Any] = []


def killed_at(at: int | str, act: Callable[[], object], *, inside: bool = False, files: bool = True) -> str:
    """Kill a process that does ``act`` before one of its effects, and return what that would have been; empty if it
    ended before. ``at`` is its number, counted from 1, or its name. ``inside``: also before each statement of a
    transaction; ``files``: also before what it does to files."""
    reader, writer = os.pipe()

    def doomed() -> None:
        _Fuse(at, writer, inside=inside, files=files).lay()
        act()

    pid = _fork(doomed)
    os.close(writer)
    with open(reader) as told:
        effect = told.read()
    _, status = os.waitpid(pid, 0)
    assert effect or status == 0, "the process that was to be killed failed by itself"
    return effect


def alongside(*acts: Callable[[], object]) -> None:
    """Do things at the same time, each in a process of its own."""
    for pid in [_fork(act) for act in acts]:
        assert os.waitpid(pid, 0)[1] == 0


def every_death(act: Callable[[int], str], most: int = 200) -> Iterator[str]:
    """Call ``act`` with 1, 2, … and hand on what it says, until it says nothing: then all deaths were died."""
    for n in range(1, most):
        effect = act(n)
        yield effect
        if not effect:
            return
    raise AssertionError("It has no end.")


def _fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _forget_the_parents_sessions()
        act()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _forget_the_parents_sessions() -> None:
    """To the database: used by both, or closed by one, they would be of no use to either."""
    _inherited.extend([connection.connection, dict(connection._connection_pools)])
    connection._connection_pools.clear()
    connection.settings_dict["OPTIONS"]["pool"] = False
    connection.connection = None


class _Fuse:
    """Counts effects in this process, and kills it."""

    def __init__(self, at: int | str, told: int, *, inside: bool, files: bool) -> None:
        self.at, self.told, self.inside, self.files = at, told, inside, files
        self.count = 0

    def lay(self) -> None:
        """From now on."""
        sys.dont_write_bytecode = True
        connection.execute_wrappers.append(self._execute)
        commit: Callable[[], None] = connection._commit
        makefile: Callable[..., Any] = socket.socket.makefile

        def committing() -> None:
            self._before("COMMIT")
            commit()

        def awaiting(connected: socket.socket, *arguments: Any, **how: Any) -> Any:
            self._before("the answer to what was sent")
            return makefile(connected, *arguments, **how)

        connection._commit = committing
        socket.socket.makefile = awaiting  # type: ignore[method-assign, assignment]
        sys.addaudithook(self._audit)

    def _before(self, effect: str) -> None:
        self.count += 1
        if self.at in {self.count, effect}:
            os.write(self.told, effect.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(WRITES) and (self.inside or not connection.in_atomic_block):
            self._before(" ".join(sql.split()[:4]))
        return execute(sql, params, many, context)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OTHERS:
            self._before(event)
        elif self.files and event in FILES:
            self._before(f"{event} {str(arguments[0]).rpartition('/')[2]}")
        elif self.files and event == "open":
            path, _, flags = arguments
            if isinstance(path, str | os.PathLike) and (flags or 0) & WRITING and not str(path).startswith("/dev/"):
                self._before(f"open {str(path).rpartition('/')[2]}")
