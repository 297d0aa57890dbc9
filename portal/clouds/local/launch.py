"""How a job on a LOCAL cluster is started: its place, its command, its environment, and what it may touch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, LaunchMode, Process, Root
from portal.clouds.environment import refuse_forbidden
from portal.clouds.local import bundles, kernel, limits, processes, sandbox
from portal.clouds.local.files import LocalFiles

NETWORK = {"FI_TCP_IFACE": "lo", "UCX_NET_DEVICES": "lo", "MPIR_CVAR_CH4_OFI_IFNAME": "lo"}
"""Keeps MPI, which listens on all interfaces by default, to the loopback."""


@dataclass(frozen=True)
class Limits:
    """In bytes: what stays free on disks (None for ``limits.RESERVE``), and how long each log of a run may become."""

    disk_reserve: int | None = None
    log: int = 2 << 30


@dataclass(frozen=True)
class Place:
    """The directories of one run. ``code`` has those where its file may be."""

    run: Path
    disk: Path
    code: dict[Root, Path]

    @property
    def output(self) -> Path:
        """For its results."""
        return self.run / "output"

    def temporary(self, process: Process) -> Path:
        """For what nobody needs once it has ended."""
        return self.disk / "tmp" / process.id


def start(nodes: Sequence[Path], run: Path, process: Process, limit: Limits) -> None:
    """Start a process on the first of the nodes, once for each ``process.id``; returns when its program runs.

    It has the cores and the memory of all of them, and is lost when one of them is.
    """
    node = nodes[0]
    if processes.started(run):
        return
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
    environment = _environment(spec, process)
    _check_room(Path(spec["bodofs"]), limit)
    place = _place(spec, node, run, process)
    request = {
        "id": process.id,
        "until": time.monotonic() + processes.ANSWER_SECONDS - 1,
        "file": process.file,
        "mode": process.mode.value,
        "workers": process.workers,
        "timeout": process.timeout,
        "command": _command(spec["release"], place, process),
        "environment": environment | _whereabouts(place, process),
        "working_directory": str(place.code[process.directory]),
        "temporary": str(place.temporary(process)),
        "cores": sorted(cores),
        "memory": memory,
        "disk_reserve": limit.disk_reserve,
        "log_limit": limit.log,
        "peers": peers,
        "system": sandbox.interpreter(f"{spec['release']}/bin/python"),
        "readable": [spec["release"]],
        "writable": _writable(place, process),
        "hidden": spec["hidden"],
    }
    try:
        processes.ask(node, {"do": "start", "run": request})
    except OSError as error:
        if not processes.started(run):
            message = f"The head node does not answer: {error}."
            raise CloudError("NodeLost", message, "Restart the cluster, then run the job again.") from error


def _check_room(path: Path, limit: Limits) -> None:
    if limits.shortage(path, limit.disk_reserve):
        hint = "Delete files that are no longer needed, then run the job again."
        raise CloudError("DiskFull", "The disk of the machine is nearly full; nothing is started on it.", hint)


def _place(spec: dict[str, Any], node: Path, run: Path, process: Process) -> Place:
    """Make the run's directories, and see that its file is there."""
    place = Place(run, node / "disk", {Root.WORKSPACE: Path(spec["bodofs"])})
    if process.bundle:
        run.mkdir(mode=0o700, exist_ok=True)
        place.code[Root.BUNDLE] = bundles.copy(Path(process.bundle), run)
    elif Root.BUNDLE in (process.root, process.directory):
        raise CloudError("BundleMissing", "The code of this run was not brought along.", "Run it again.")
    with LocalFiles(place.code[process.root]).open(process.file):
        pass
    for folder in (place.output, place.temporary(process)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _command(release: str, place: Place, process: Process) -> list[str]:
    """Ranks are run by mpi4py, as it advises: otherwise one that ends by an exception waits in MPI_Finalize for others
    that wait for it. What they write goes straight to the log; only then are Hydra's own words apart."""
    file = f"./{process.file}" if process.file.startswith("-") else process.file
    if process.root is not process.directory:
        file = f"{place.code[process.root]}/{process.file}"
    python, program = f"{release}/bin/python", [file, *process.arguments]
    if process.mode is LaunchMode.SPAWN:
        return [python, *program]
    hydra = ["-iface", "lo", "-print-all-exitcodes", "-outfile-pattern", str(place.run / "stdout.log")]
    return [f"{release}/bin/mpiexec", *hydra, "-n", str(process.workers), python, "-m", "mpi4py", *program]


def _writable(place: Place, process: Process) -> list[str]:
    paths = [*place.code.values(), place.output, place.disk]
    if process.mode is LaunchMode.SPMD:
        paths.append(place.run / "stdout.log")
    return [str(path) for path in paths]


def _environment(spec: dict[str, Any], process: Process) -> dict[str, str]:
    """Built from nothing, so that nothing of the portal's own environment can be in it."""
    refuse_forbidden(process.environment)
    workers = str(process.workers)
    mode = {"BODO_NUM_WORKERS": workers} if process.mode is LaunchMode.SPAWN else {"BODO_SPAWN_MODE": "0"}
    return {
        "PATH": f"{spec['release']}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        **NETWORK,
        **process.environment,
        **mode,
        "PORTAL_CLUSTER_ID": spec["cluster"],
        "PORTAL_RUN": process.id,
        "PORTAL_WORKERS": workers,
        "PORTAL_INSTANCE": spec["instance"],
    }


def _whereabouts(place: Place, process: Process) -> dict[str, str]:
    found = {
        "HOME": place.disk / "home",
        "TMPDIR": place.temporary(process),
        "NUMBA_CACHE_DIR": place.disk / "cache",
        "PORTAL_BODOFS": place.code[Root.WORKSPACE],
        "PORTAL_OUTPUT": place.output,
    }
    if Root.BUNDLE in place.code:
        found["PORTAL_BUNDLE"] = place.code[Root.BUNDLE]
    given = process.environment
    return {name: str(path) for name, path in found.items() if name not in given}
