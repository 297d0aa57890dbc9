"""The steps that LOCAL deployments are made of (see ``portal.clouds.plan``).

filesystem   a workspace's shared directory
release      a Bodo release, shared by all
directory    a cluster's directory; the logs of its runs stay when it goes
disk-i       a node's own directory
capacity-i   a node's share of the machine's cores, reserved for all nodes at once
node-i       the node's agent
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, Event, Pending
from portal.clouds.local import daemons, kernel, processes, trees
from portal.clouds.local.capacity import Capacity
from portal.clouds.local.releases import Releases

AGENT = Path(__file__).parent / "agent.py"
_DELETE_SECONDS = 1.0
SHUTDOWN_SECONDS = 10.0
SILENT_SECONDS = 30.0
_ATTEMPTS = 3


@dataclass
class DirectoryStep:
    """A directory below ``root``, with some directories in it; deleting it deletes all in it but what is ``kept``."""

    name: str
    label: str
    root: Path
    path: str
    inside: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    group: str = "directories"
    fingerprint: str = ""

    def find(self) -> str | None:
        """Its path below the root, if all of it is there."""
        return self.path if all((self.root / self.path / name).is_dir() for name in ("", *self.inside)) else None

    def create(self) -> str:
        """Make it; what is there already is left as it is."""
        for name in ("", *self.inside):
            (self.root / self.path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.path

    def ready(self, id: str) -> bool | Pending | Event:
        """At once."""
        return True

    def delete(self, id: str | None) -> bool:
        """Delete for a second at a time."""
        path = self.root / self.path
        if not path.parent.is_dir():
            return True
        deadline = time.monotonic() + _DELETE_SECONDS
        kept = [name for name in self.kept if (path / name).is_dir() and any((path / name).iterdir())]
        if not kept:
            return trees.remove(path, deadline)
        return all(trees.remove(path / name, deadline) for name in os.listdir(path) if name not in kept)


@dataclass
class ReleaseStep:
    """A release belongs to no cluster: it is made when first wanted, and a cluster's end does not delete it."""

    releases: Releases
    version: str
    name: str = "release"
    group: str = "release"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.releases.label} {self.version}"

    @property
    def fingerprint(self) -> str:
        """Another version is another release, and so is one that is made from something else."""
        return f"{self.version} {self.releases.digest(self.version)}"

    def find(self) -> str | None:
        """Its version, if it is installed."""
        return self.version if self.releases.installed(self.version) else None

    def create(self) -> str:
        """Start installing it, unless somebody is at it."""
        self.releases.install(self.version)
        return self.version

    def ready(self, id: str) -> bool | Pending | Event:
        """Once installed."""
        return self.releases.ready(self.version)

    def delete(self, id: str | None) -> bool:
        """Others may use it."""
        return True


@dataclass
class CapacityStep:
    """One node's cores. The first to be made reserves them for all nodes that the cluster should have."""

    capacity: Capacity
    cluster: str
    directory: Path
    index: int
    wanted: Mapping[int, int]
    fingerprint: str
    group: str = "capacity"

    @property
    def name(self) -> str:
        """One for each node, so that scaling leaves those of the others alone."""
        return f"capacity-{self.index}"

    @property
    def label(self) -> str:
        """For people."""
        return f"reserved cores of node {self.index}"

    def find(self) -> str | None:
        """The cores, if they are reserved."""
        cores = self.capacity.held(self.cluster).get(self.index)
        return None if cores is None else ",".join(map(str, cores))

    def create(self) -> str:
        """Reserve the cores of all nodes that have none, or ``InsufficientCapacity``."""
        self.capacity.reserve(self.cluster, self.directory, self.wanted)
        return self.find() or ""

    def ready(self, id: str) -> bool | Pending | Event:
        """At once."""
        return True

    def delete(self, id: str | None) -> bool:
        """Give them back."""
        self.capacity.keep(self.cluster, set(self.capacity.held(self.cluster)) - {self.index})
        return True


@dataclass
class NodeStep:
    """A node's agent. ``settings`` is what its ``node.json`` says beside its cores and its token."""

    root: Path
    path: str
    index: int
    python: str
    capacity: Capacity
    cluster: str
    fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    group: str = "nodes"

    @property
    def name(self) -> str:
        """By its index."""
        return f"node-{self.index}"

    @property
    def label(self) -> str:
        """For people."""
        return f"node {self.index}"

    @property
    def directory(self) -> Path:
        """Where it lives."""
        return self.root / self.path

    @property
    def lock(self) -> Path:
        """Held by the agent and its supervisors."""
        return self.directory / "agent.lock"

    def find(self) -> str | None:
        """Its path, if its agent lives or is being born."""
        return self.path if daemons.held(self.lock) else None

    def create(self) -> str:
        """Start the agent; a second one cannot get the lock."""
        if not Path(self.settings["bodofs"]).is_dir():
            raise CloudError("WorkspaceNotReady", "The workspace has no filesystem.", "Create the workspace again.")
        settings = self.directory / "node.json"
        token = (kernel.get(settings) or {}).get("token") or secrets.token_hex(32)
        cores = self.capacity.held(self.cluster)[self.index]
        instance = f"{self.cluster}/{self.name}"
        kernel.put(settings, {**self.settings, "instance": instance, "cores": sorted(set(cores)), "token": token})
        for name in ("agent.json", "heartbeat", "leaving"):
            if not daemons.held(self.lock):
                (self.directory / name).unlink(missing_ok=True)
        self._start()
        return self.path

    def ready(self, id: str) -> bool | Pending | Event:
        """Once the agent answers. One that died on its way is started again, a few times."""
        attempts, silent = self.directory / "attempts", self.directory / "silent"
        if daemons.held(self.lock):
            try:
                processes.ask(self.directory, {"do": "ping"}, seconds=1)
            except OSError:
                return self._insist(silent)
            attempts.unlink(missing_ok=True)
            silent.unlink(missing_ok=True)
            return True
        tried = (kernel.get(attempts) or 0) + 1
        if tried > _ATTEMPTS:
            attempts.unlink()
            log = self.directory / "agent.log"
            raise CloudError("NodeLost", f"The agent of node {self.index} ended: {daemons.tail(log)}", f"See {log}.")
        kernel.put(attempts, tried)
        self._start()
        return Pending(0.1, initializing=True)

    def _insist(self, silent: Path) -> Pending:
        """One that is being born answers soon; one that is silent for long is killed, and started again."""
        try:
            waited = time.time() - silent.stat().st_mtime
        except FileNotFoundError:
            silent.touch()
            waited = 0
        if waited > SILENT_SECONDS:
            self._signal(signal.SIGKILL)
            silent.unlink(missing_ok=True)
        return Pending(0.02 if waited < 2 else 1, initializing=True)

    def delete(self, id: str | None) -> bool:
        """Ask the agent to go, insist after a while; True once it and every process it started are gone."""
        if not self.directory.is_dir():
            return True
        leaving = self.directory / "leaving"
        if daemons.held(self.lock):
            if not leaving.exists():
                leaving.touch()
                try:
                    processes.ask(self.directory, {"do": "shutdown"})
                except (OSError, CloudError):
                    self._signal(signal.SIGTERM)
            elif time.time() - leaving.stat().st_mtime > SHUTDOWN_SECONDS:
                self._signal(signal.SIGKILL)
            return False
        if processes.kill_strays(self.directory):
            return False
        for name in ("agent.json", "agent.sock", "heartbeat", "leaving", "attempts", "silent"):
            (self.directory / name).unlink(missing_ok=True)
        return True

    def _signal(self, number: signal.Signals) -> None:
        for who in kernel.marked(f"PORTAL_AGENT={self.directory}"):
            kernel.send(who, number)

    def _start(self) -> None:
        daemons.start(
            [self.python, "-I", "-S", str(AGENT), str(self.directory)],
            lock=self.lock,
            log=self.directory / "agent.log",
            environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PORTAL_AGENT": str(self.directory)},
        )
