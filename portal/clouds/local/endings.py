"""How a run ended, told from what is left of it: the status of its process, what ``mpiexec`` said, who was gone first.

``mpiexec`` (MPICH's Hydra) ends with the exit codes of all ranks OR'd, a signal's number among them, so that 9 may be
one rank's code, another's signal, or 8 and 1. But it can print every rank's own wait status
(``-print-all-exitcodes``), 0 for those that it ended itself because of another. It prints none after MPI_Abort; then
the rank that called it says so on stderr.

In spawn mode Bodo's program starts its workers itself. When one of them dies, Hydra kills the program with signal 9
before it can say anything: what remains is that a worker was gone when the program was not yet.

Standard library only.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

_ALL_CODES = re.compile(rb"Exit codes: ((?:\[[^\]\n]*\] [0-9,]+\n?)+)")
"""A line for each machine, in the order of their ranks."""

_CODES = re.compile(rb"\] ([0-9,]+)")
_ABORT = re.compile(rb"application called MPI_Abort\([^\n]*?, (-?[0-9]+)\) - process ([0-9]+)")

_NAMED = 3


@dataclass(frozen=True)
class Ending:
    """An ``Exit`` without its times; ``reason`` is the name of an ``ExitReason``."""

    reason: str
    detail: str = ""
    code: int | None = None
    signal: int | None = None


def of_program(status: int | None, *, out_of_memory: bool = False, what: str = "The program") -> Ending:
    """Of one process, by its wait status. ``out_of_memory`` says that the kernel killed somebody meanwhile."""
    if status is None:
        return Ending("LOST", f"{what} went away.")
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL and out_of_memory:
        detail = f"The machine ran out of memory, and its kernel killed {what[0].lower()}{what[1:]}."
        return Ending("OUT_OF_MEMORY", detail, signal=signal.SIGKILL)
    if code < 0:
        return Ending("SIGNALLED", f"{what} was ended by {named(-code)}.", signal=-code)
    return Ending("EXITED", f"{what} ended with code {code}." if code else "", code)


def of_ranks(status: int, launcher: bytes, stderr: bytes, *, out_of_memory: bool = False) -> Ending:
    """Of a program under ``mpiexec``: its wait status, all that it wrote itself, and the end of the ranks' stderr."""
    said = _ALL_CODES.findall(launcher)
    if not said:
        return _of_abort(stderr) or of_program(status, out_of_memory=out_of_memory)
    statuses = [int(code) for machine in _CODES.findall(said[-1]) for code in machine.split(b",")]
    failed = [rank for rank, each in enumerate(statuses) if each]
    if not failed:
        return of_program(status, out_of_memory=out_of_memory)
    if len(failed) == len(statuses) and len(set(statuses)) == 1:
        what = "The program" if len(statuses) == 1 else f"Each of the {len(statuses)} ranks"
        return of_program(statuses[0], out_of_memory=out_of_memory, what=what)
    endings = [of_program(statuses[rank], out_of_memory=out_of_memory, what=f"Rank {rank}") for rank in failed]
    first = endings[0].detail.replace(f"Rank {failed[0]} ", f"Rank {failed[0]} of {len(statuses)} ", 1).rstrip(".")
    others = [f", rank{each.detail.rstrip('.').removeprefix('Rank')}" for each in endings[1:_NAMED]]
    more = f", and {len(failed) - _NAMED} more failed" if len(failed) > _NAMED else ""
    worst = next((each for each in endings if each.reason == "OUT_OF_MEMORY"), None)
    if worst is not None:
        return Ending(worst.reason, worst.detail, signal=worst.signal)
    return Ending("RANK_FAILED", f"{first}{''.join(others)}{more}.", endings[0].code, endings[0].signal)


def of_spawner(status: int | None, gone: Sequence[int], workers: int, *, out_of_memory: bool = False) -> Ending:
    """Of a program that starts its workers itself. ``gone`` are the ranks of those that were gone when it ended."""
    found = of_program(status, out_of_memory=out_of_memory)
    if found.signal != signal.SIGKILL or not gone:
        return found
    what = f"Rank {gone[0]} of {workers}" if len(gone) == 1 else f"One of the {workers} ranks"
    if found.reason == "OUT_OF_MEMORY":
        detail = f"The machine ran out of memory, and its kernel killed {what[0].lower()}{what[1:]}."
        return Ending(found.reason, detail, signal=signal.SIGKILL)
    detail = f"{what} crashed or was killed, and the program with it."
    return Ending("RANK_FAILED", detail, signal=signal.SIGKILL)


def duration(seconds: float) -> str:
    """A time for people."""
    value, unit = (seconds / 60, "minute") if seconds >= 60 else (seconds, "second")
    return f"{value:g} {unit}" if value == 1 else f"{value:g} {unit}s"


def named(number: int) -> str:
    """A signal for people."""
    try:
        return f"signal {number} ({signal.Signals(number).name}: {signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"


def _of_abort(stderr: bytes) -> Ending | None:
    found = _ABORT.search(stderr)
    if found is None:
        return None
    code, rank = int(found[1]), int(found[2])
    return Ending("RANK_FAILED", f"Rank {rank} ended all ranks with code {code}.", code & 0xFF)
