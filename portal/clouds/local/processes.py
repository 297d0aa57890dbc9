"""Jobs on a LOCAL cluster, from the portal's side: asking the head node's agent, and reading what it wrote down. How
they are started is in ``launch``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, Exit, ExitReason, LogChunk, LogStream
from portal.clouds.local import burial, kernel, limits

ANSWER_SECONDS = 10.0
"""How long an agent has to answer. It starts nothing in the last of these seconds."""


def started(run: Path) -> bool:
    """Whether the run was ever started."""
    return (run / "spec.json").exists()


def stop(node: Path, run: Path) -> None:
    """Ask for a process's end. The file is the request; the agent is only woken."""
    if not run.is_dir() or (run / "exit.json").exists():
        return
    (run / "cancel").touch()
    with contextlib.suppress(OSError):
        ask(node, {"do": "stop", "run": run.name})


def poll(run: Path) -> Exit | None:
    """How a process ended, or None while it runs."""
    outcome = kernel.get(run / "exit.json")
    if outcome is None and not _watched(run):
        burial.bury(run)
        outcome = kernel.get(run / "exit.json") or {"reason": "LOST", "code": None, "started": None, "ended": None}
    if outcome is None:
        return None
    ended = _time(outcome["ended"]) or datetime.now(UTC)
    return Exit(
        ExitReason(outcome["reason"]),
        outcome["code"],
        _time(outcome["started"]),
        ended,
        outcome.get("signal"),
        outcome.get("detail", ""),
    )


def log(run: Path, stream: LogStream, offset: int, limit: int) -> LogChunk:
    """A piece of a log; empty where nothing was written yet."""
    try:
        path = run / f"{stream.value}.log"
        with open(path, "rb") as file:
            size = limits.readable_size(path, os.fstat(file.fileno()).st_size)
            begin = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(begin)
            data = file.read(max(0, min(limit, size - begin)))
            return LogChunk(data, begin, begin + len(data), size)
    except FileNotFoundError:
        return LogChunk(b"", 0, 0, 0)


def ask(node: Path, request: dict[str, Any], seconds: float | None = None) -> None:
    """One request to a node's agent. ``OSError`` where it does not answer."""
    token = (kernel.get(node / "node.json") or {}).get("token")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS if seconds is None else seconds)
        folder = os.open(node, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # a socket's path may have 107 characters, and a node's directory more
            connection.connect(f"/proc/self/fd/{folder}/agent.sock")
        finally:
            os.close(folder)
        connection.sendall(json.dumps({"token": token, **request}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise ConnectionError("no answer")
    answer = json.loads(line)
    if not answer["ok"]:
        raise CloudError("NodeRefused", f"The node answered: {answer['error']}", "Try again; restart the cluster.")


def kill_strays(node: Path) -> bool:
    """Kill what a node whose agent is gone left behind; True if there was anything."""
    strays = kernel.marked(f"PORTAL_INSTANCE={node.parent.name}/{node.name}")
    for run in (node.parent / "runs").glob("*"):
        if not (run / "exit.json").exists():
            strays += kernel.marked(f"PORTAL_RUN={run.name}")
            strays += [who for who in kernel.get(run / "tree.json") or [] if kernel.alive(who)]
    for who in strays:
        kernel.send(who, signal.SIGKILL)
    return bool(strays)


def _watched(run: Path) -> bool:
    """Whether somebody will still write the run's exit: the agent that started it lives."""
    spec = kernel.get(run / "spec.json")
    return spec is not None and kernel.alive(spec["agent"])


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
