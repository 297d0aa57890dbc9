"""Where things are on a machine, and how a job's program is started there.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGURATION = "PORTAL_NODE"
"""The variable that names another ``node.json``."""

SHARED = ".portal/runs"
"""Where in the shared filesystem runs are that several machines work on."""

LOG_LIMIT = 2 << 30
"""Bytes of each log of a run."""

SPARED = 512
"""MiB of the machine's memory that its system and this program keep."""


@dataclass(frozen=True)
class Machine:
    """This machine, from its ``node.json``. All paths in it can be others than the usual ones."""

    node: dict[str, Any]

    @classmethod
    def here(cls) -> Machine:
        """Raises OSError where this is no machine of a cluster."""
        return cls(json.loads(Path(os.environ.get(CONFIGURATION, "/opt/portal/node.json")).read_text()))

    @property
    def runs(self) -> Path:
        """A directory for each run that was started here."""
        return Path(self.node.get("runs", "/var/lib/portal/runs"))

    @property
    def bodofs(self) -> Path:
        """The shared filesystem."""
        return Path(self.node.get("bodofs", "/bodofs"))

    @property
    def home(self) -> Path:
        """Of whom jobs run as."""
        return Path(self.node.get("home", "/home/bodo"))

    @property
    def hostfile(self) -> Path:
        """The machines of the cluster, this one first."""
        return self.home / "hostfile"

    @property
    def others(self) -> list[str]:
        """The addresses of the cluster's other machines."""
        try:
            lines = self.hostfile.read_text().split()
        except FileNotFoundError:
            return []
        return [line.rpartition(":")[0] for line in lines[1:]]

    @property
    def user(self) -> str:
        """Whom jobs run as; empty for whoever runs this program."""
        return str(self.node.get("user", "bodo"))

    @property
    def account(self) -> dict[str, Any] | None:
        """The same as the kernel wants it."""
        if not self.user:
            return None
        found = pwd.getpwnam(self.user)
        return {"uid": found.pw_uid, "gid": found.pw_gid, "groups": [self.user, found.pw_gid]}

    def give(self, path: Path) -> None:
        """Let a file or folder of ours be the job's; what is in a folder, too."""
        account = self.account
        if account is None:
            return
        for folder, folders, names in os.walk(path, followlinks=False):
            for name in [*folders, *names]:
                _give(os.path.join(folder, name), account)
        _give(path, account)


@dataclass(frozen=True)
class Place:
    """The directories of one run. ``run`` is ours; what its job may write to is in ``work``, which other machines of
    the cluster see under the same path where there are any."""

    machine: Machine
    run: Path

    @property
    def work(self) -> Path:
        """For code, results and temporary files."""
        return self.root_of_work / self.rest

    @property
    def root_of_work(self) -> Path:
        """What is ours on the way there."""
        return self.machine.bodofs if self.machine.others else self.run

    @property
    def rest(self) -> str:
        """What jobs may write to on the way there."""
        return f"{SHARED}/{self.run.name}" if self.machine.others else "work"

    @property
    def bundle(self) -> Path:
        """For the code that was brought along."""
        return self.work / "bundle"

    @property
    def output(self) -> Path:
        """For results."""
        return self.work / "output"

    @property
    def temporary(self) -> Path:
        """For what nobody needs once it has ended."""
        return self.work / "tmp"

    def root(self, name: str) -> Path:
        """Where code can be: ``workspace`` or ``bundle``."""
        return self.bundle if name == "bundle" else self.machine.bodofs

    def command(self, request: dict[str, Any]) -> list[str]:
        """As ``portal.clouds.local.launch`` has it, over all machines of the cluster."""
        given = request["file"]
        file = f"./{given}" if given.startswith("-") else given
        if request["root"] != request["directory"]:
            file = f"{self.root(request['root'])}/{given}"
        python, program = self.machine.node["release_python"], [file, *request["arguments"]]
        if request["mode"] == "spawn":
            return [python, *program]
        hosts = ["-f", str(self.machine.hostfile)] if self.machine.others else []
        hydra = ["-print-all-exitcodes", "-outfile-pattern", str(self.run / "stdout.log"), *hosts]
        mpiexec = str(Path(python).with_name("mpiexec"))
        return [mpiexec, *hydra, "-n", str(request["workers"]), python, "-m", "mpi4py", *program]

    def environment(self, request: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
        """Built from nothing. Bodo starts its workers over the machines of HYDRA_HOST_FILE (MPICH's wiki, "Using the
        Hydra Process Manager")."""
        node, workers = self.machine.node, str(request["workers"])
        mode = {"BODO_NUM_WORKERS": workers} if request["mode"] == "spawn" else {"BODO_SPAWN_MODE": "0"}
        found = {
            "PATH": f"{Path(node['release_python']).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.machine.home),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "AWS_DEFAULT_REGION": node["region"],
            "NUMBA_CACHE_DIR": str(self.machine.home / ".cache/numba"),
            "TMPDIR": "/tmp" if self.machine.others else str(self.temporary),  # noqa: S108 - there on all machines
            **given,
            **mode,
            "PORTAL_BODOFS": str(self.machine.bodofs),
            "PORTAL_OUTPUT": str(self.output),
            "PORTAL_CLUSTER_ID": node["cluster"],
            "PORTAL_RUN": request["id"],
            "PORTAL_WORKERS": workers,
        }
        if self.machine.others:
            found["HYDRA_HOST_FILE"] = str(self.machine.hostfile)
        if request["bundle"]:
            found["PORTAL_BUNDLE"] = str(self.bundle)
        return found

    def order(self, request: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
        """What the supervisor of ``portal.clouds.local`` is to do."""
        return {
            "id": request["id"],
            "mode": request["mode"],
            "workers": request["workers"],
            "timeout": request["timeout"],
            "command": self.command(request),
            "environment": self.environment(request, given),
            "working_directory": str(self.root(request["directory"])),
            "temporary": str(self.temporary),
            "cores": sorted(os.sched_getaffinity(0)),
            "memory": _memory() - SPARED,
            "memory_of": "the machine",
            "disk_reserve": self.machine.node.get("disk_reserve"),
            "log_limit": self.machine.node.get("log_limit", LOG_LIMIT),
            "peers": [],
            "system": None,
            "readable": [],
            "writable": [str(self.work)],
            "hidden": [],
            "account": self.machine.account,
        }


def _give(path: str | Path, account: dict[str, Any]) -> None:
    """In the shared filesystem, all things are the job's already: its access point sees to that, and refuses."""
    with contextlib.suppress(PermissionError):
        os.lchown(path, account["uid"], account["gid"])


def _memory() -> int:
    """MiB that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
