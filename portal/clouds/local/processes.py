"""Jobs on a LOCAL cluster, from the portal's side: asking the head node's agent, and reading what it wrote down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, Exit, ExitReason, LaunchMode, LogChunk, LogStream, Process, Root
from portal.clouds.environment import CATALOG, refusal_of
from portal.clouds.local import bundles, kernel, sandbox, supervisor
from portal.clouds.local.files import LocalFiles

ANSWER_SECONDS = 10.0
"""How long an agent has to answer. It starts nothing in the last of these seconds."""

NETWORK = {"FI_TCP_IFACE": "lo", "UCX_NET_DEVICES": "lo", "MPIR_CVAR_CH4_OFI_IFNAME": "lo"}
"""Keeps MPI, which listens on all interfaces by default, to the loopback."""


def start(nodes: Sequence[Path], run: Path, process: Process) -> None:
    """Start a process on the first of the nodes, once for each ``process.id``; returns when its program runs.

    It has the cores and the memory of all of them, and is lost when one of them is.
    """
    node = nodes[0]
    if started(run):
        return
    if not process.bundle and Root.BUNDLE in (process.root, process.directory):
        raise CloudError("BundleMissing", "The code of this run was not brought along.", "Run it again.")
    spec = kernel.get(node / "node.json")
    if spec is None:
        raise CloudError("ClusterNotRunning", "The cluster has no machines.", "Start it first.")
    cores: set[int] = set()
    memory = 0
    peers = []
    for other in nodes:
        part, agent = kernel.get(other / "node.json"), kernel.get(other / "agent.json")
        if part is None or not kernel.alive(agent):
            raise CloudError("NodeLost", f"{other.name} is gone.", "Restart the cluster, then run the job again.")
        cores |= set(part["cores"])
        memory += part["memory"]
        peers.append(agent)
    places: dict[str, str] = {Root.WORKSPACE: spec["bodofs"]}
    if process.bundle:
        run.mkdir(mode=0o700, exist_ok=True)
        places[Root.BUNDLE] = str(bundles.copy(Path(process.bundle), run))
    with LocalFiles(Path(places[process.root])).open(process.file):
        pass
    disk, output = node / "disk", run / "output"
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    request = {
        "id": process.id,
        "until": time.monotonic() + ANSWER_SECONDS - 1,
        "file": process.file,
        "mode": process.mode.value,
        "workers": process.workers,
        "timeout": process.timeout,
        "command": _command(spec["release"], places, process),
        "environment": _environment(spec, disk, {**places, "output": str(output)}, process),
        "working_directory": places[process.directory],
        "cores": sorted(cores),
        "memory": memory,
        "peers": peers,
        "system": sandbox.interpreter(f"{spec['release']}/bin/python"),
        "readable": [spec["release"]],
        "writable": [*places.values(), str(output), str(disk)],
        "hidden": spec["hidden"],
    }
    try:
        ask(node, {"do": "start", "run": request})
    except OSError as error:
        if not started(run):
            message = f"The head node does not answer: {error}."
            raise CloudError("NodeLost", message, "Restart the cluster, then run the job again.") from error


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
        supervisor.bury(run)
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
        with open(run / f"{stream.value}.log", "rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(begin)
            data = file.read(max(0, min(limit, size - begin)))
            return LogChunk(data, begin, begin + len(data), size)
    except FileNotFoundError:
        return LogChunk(b"", 0, 0, 0)


def ask(node: Path, request: dict[str, Any], seconds: float = ANSWER_SECONDS) -> None:
    """One request to a node's agent. ``OSError`` where it does not answer."""
    token = (kernel.get(node / "node.json") or {}).get("token")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
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
            strays += [who for who in kernel.get(run / "tree.json") or [] if kernel.alive(who)]
    for who in strays:
        kernel.send(who, signal.SIGKILL)
    return bool(strays)


def _watched(run: Path) -> bool:
    """Whether somebody will still write the run's exit: the agent that started it lives."""
    spec = kernel.get(run / "spec.json")
    return spec is not None and kernel.alive(spec["agent"])


def _command(release: str, places: Mapping[str, str], process: Process) -> list[str]:
    file = f"./{process.file}" if process.file.startswith("-") else process.file
    if process.root is not process.directory:
        file = f"{places[process.root]}/{process.file}"
    program = [f"{release}/bin/python", file, *process.arguments]
    if process.mode is LaunchMode.SPAWN:
        return program
    return [f"{release}/bin/mpiexec", "-iface", "lo", "-n", str(process.workers), *program]


def _environment(spec: dict[str, Any], disk: Path, places: Mapping[str, str], process: Process) -> dict[str, str]:
    """Built from nothing, so that nothing of the portal's own environment can be in it."""
    for name, value in process.environment.items():
        if "\0" in value:
            raise CloudError("EnvironmentNotAllowed", f"The value of {name} holds a NUL character.", permanent=True)
        refusal = "" if name == CATALOG else refusal_of(name)
        if refusal:
            raise CloudError("EnvironmentNotAllowed", refusal, "Remove it from the job's environment.", permanent=True)
    workers = str(process.workers)
    mode = {"BODO_NUM_WORKERS": workers} if process.mode is LaunchMode.SPAWN else {"BODO_SPAWN_MODE": "0"}
    return {
        "PATH": f"{spec['release']}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "NUMBA_CACHE_DIR": str(disk / "cache"),
        "OMP_NUM_THREADS": "1",
        **NETWORK,
        **process.environment,
        **mode,
        "HOME": str(disk / "home"),
        "TMPDIR": str(disk / "tmp"),
        "PORTAL_CLUSTER_ID": spec["cluster"],
        "PORTAL_RUN": process.id,
        "PORTAL_WORKERS": workers,
        "PORTAL_INSTANCE": spec["instance"],
        "PORTAL_BODOFS": places[Root.WORKSPACE],
        "PORTAL_OUTPUT": places["output"],
        **({"PORTAL_BUNDLE": places[Root.BUNDLE]} if Root.BUNDLE in places else {}),
    }


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
