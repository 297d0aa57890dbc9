"""LOCAL: a real cloud in miniature, on the machine that the portal runs on.

An instance is a node agent with its own directory, cores and memory. Capacity is the machine's, and asking for more is
a stock-out; a killed agent is a lost machine; jobs are real processes that outlive the portal and whose ends are found
again. Nothing needs root.

    <root>/workspaces/<workspace>/bodofs     the shared filesystem, and the working directory of jobs
        …/clusters/<cluster>/runs/<run>/     logs and end of a job; they outlive the cluster, and go with the workspace
        …/clusters/<cluster>/node-<i>/       a node; disk/ in it is HOME, TMPDIR and compile cache of jobs
        …/notebooks/<server>/                a person's JupyterLab (see ``notebooks``)
    <machine root>/releases/bodo-<version>-<digest>/   Bodo, shared by all configurations on this machine
    <machine root>/releases/lab-<version>-<digest>/    JupyterLab, likewise
    <machine root>/instances/                          who has which of the machine's cores
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from portal.clouds import logs, plan
from portal.clouds.base import (
    Check,
    CloudError,
    ClusterSpec,
    Event,
    Exit,
    Failed,
    Features,
    Handle,
    Health,
    InstanceType,
    LogChunk,
    LogMatches,
    LogStream,
    Node,
    NotebookAddress,
    NotebookObservation,
    NotebookSize,
    NotebookSpec,
    Observation,
    Process,
    Ref,
    Release,
    Step,
    Target,
    WorkspaceSpec,
)
from portal.clouds.lacking import Lacking
from portal.clouds.local import checks, kernel, launch, notebooks, processes
from portal.clouds.local.capacity import Capacity
from portal.clouds.local.files import LocalFiles, explained
from portal.clouds.local.releases import Releases
from portal.clouds.local.steps import CapacityStep, DirectoryStep, NodeStep, ReleaseStep

REGION = "local"
ZONE = "local-a"
SIZES = (1, 2, 4, 8, 16, 32, 64)
HEARTBEAT_SECONDS = 30.0
"""A living agent that was not heard of for so long hangs; a busy machine alone does not delay it so much."""

DEFAULT_LIMITS = launch.Limits()
_DISK = ("disk", "disk/home", "disk/tmp", "disk/cache")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class LocalCloud(Lacking):
    """One LOCAL cloud configuration.

    ``root`` is its own directory, ``machine_root`` what it shares with the others on this machine. ``capacity_factor``
    says how many cores instances may have for each core of the machine. ``hidden`` are more directories (the portal's
    own) that job code must not see even where they stand below one of the system's. ``limits`` are those of each run.
    """

    poll_seconds = 0.15
    observe_seconds = 2.0
    features = Features(notebooks=True)

    def __init__(
        self,
        root: Path,
        machine_root: Path,
        capacity_factor: float = 1.0,
        python: str = sys.executable,
        hidden: Sequence[Path] = (),
        limits: launch.Limits = DEFAULT_LIMITS,
    ) -> None:
        self.root = root.absolute()
        self.machine_root = machine_root.absolute()
        self.python = python
        self.limits = limits
        self.hidden = [str(path) for path in (self.root, self.machine_root, *hidden)]
        self.capacity = Capacity(self.machine_root / "instances", capacity_factor)
        self.installed = Releases(self.machine_root / "releases", python)
        self.images = Releases(self.machine_root / "releases", python, product="lab", label="JupyterLab")

    def check(self) -> Sequence[Check]:
        """Look whether this directory and this machine can be used."""
        return checks.check(self.root, self.machine_root, self.python, self.capacity)

    def check_cluster(self, spec: ClusterSpec) -> Sequence[Check]:
        """Whether the machine has cores for it that nobody has."""
        try:
            cores, _ = self._size(spec, Target.RUNNING)
        except CloudError as error:
            return [Check("Instance type", False, error.message, error.hint)]
        needed, free = cores * spec.instances, self.capacity.free()
        detail = f"{needed} cores needed; {free} of {self.capacity.cores} are free."
        hint = "Pause or stop another cluster, or choose fewer or smaller instances."
        return [Check("Cores", needed <= free, detail, "" if needed <= free else hint)]

    def regions(self) -> Sequence[str]:
        """This machine."""
        return [REGION]

    def zones(self, region: str) -> Sequence[str]:
        """This machine."""
        return [ZONE]

    def instance_types(self, region: str) -> Sequence[InstanceType]:
        """Shares of this machine; at least 1, 2 and 4 cores where it has them."""
        memory = self.capacity.memory_per_core
        return [
            InstanceType(f"local.{cores}x", vcpus=cores, cores=cores, memory=cores * memory)
            for cores in SIZES
            if cores <= self.capacity.cores
        ]

    def total_vcpus(self) -> int | None:
        """What the machine has for instances."""
        return self.capacity.cores

    def releases(self) -> Sequence[Release]:
        """The releases with pinned requirements."""
        return self.installed.list()

    def advance_workspace(self, spec: WorkspaceSpec, handle: Handle, target: Target) -> Step:
        """The shared directory."""
        path = f"workspaces/{_safe(spec.id)}"
        step = DirectoryStep("filesystem", "shared filesystem", self.root, path, ("bodofs",))
        return self._advance([] if target is Target.TERMINATED else [step], [step], handle)

    def advance_cluster(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        """Release, directories, cores, agents."""
        path = f"workspaces/{_safe(spec.workspace.id)}/clusters/{_safe(spec.id)}"
        known = {int(name.partition("-")[2]) for name in handle.get("steps", {}) if re.fullmatch(r"[a-z]+-\d+", name)}
        try:
            cores, memory = self._size(spec, target)
        except CloudError as error:
            return Step(handle, Failed(error))
        indexes = range(spec.instances)
        release = ReleaseStep(self.installed, spec.release)
        directory = DirectoryStep("directory", "cluster directory", self.root, path, ("runs",), kept=("runs",))

        def disk(index: int) -> DirectoryStep:
            label = f"disk of node {index}"
            return DirectoryStep(f"disk-{index}", label, self.root, f"{path}/node-{index}", _DISK, group="disks")

        def share(index: int) -> CapacityStep:
            wanted = dict.fromkeys(indexes, cores)
            return CapacityStep(self.capacity, spec.id, self.root / path, index, wanted, spec.instance_type)

        def node(index: int) -> NodeStep:
            fingerprint = f"{spec.instance_type} {spec.release} {spec.generation}"
            settings = {
                "cluster": spec.id,
                "memory": memory,
                "release": str(self.installed.path(spec.release)),
                "bodofs": str(self.root / "workspaces" / _safe(spec.workspace.id) / "bodofs"),
                "runs": str(self.root / path / "runs"),
                "hidden": self.hidden,
            }
            return NodeStep(
                self.root, f"{path}/node-{index}", index, self.python, self.capacity, spec.id, fingerprint, settings
            )

        disks = [disk(index) for index in indexes]
        wanted_for: dict[Target, list[plan.PlanStep]] = {
            Target.RUNNING: [release, directory, *map(share, indexes), *disks, *map(node, indexes)],
            Target.PAUSED: [directory, *disks],
            Target.STOPPED: [directory],
            Target.TERMINATED: [],
        }
        wanted = wanted_for[target]
        everything: list[plan.PlanStep] = [release, directory]
        for index in known:
            everything += [disk(index), share(index), node(index)]
        step = self._advance(wanted, everything, handle)
        names = {*step.handle["steps"], *(each.name for each in wanted)}
        self.capacity.keep(spec.id, {index for index in {*known, *indexes} if f"capacity-{index}" in names})
        # Others may use the release: giving up our claim to it, or to what it was once made from, is no news.
        kept = step.handle["steps"].get("release", {"state": "deleting"})["state"] != "deleting"
        return replace(step, events=[event for event in step.events if event.step != "release" or kept])

    def notebook_images(self) -> Sequence[Release]:
        """The versions of JupyterLab with pinned requirements."""
        return self.images.list()

    def notebook_sizes(self, region: str) -> Sequence[NotebookSize]:
        """Those for which this machine has memory."""
        return notebooks.sizes()

    def advance_notebook(self, spec: NotebookSpec, handle: Handle, target: Target) -> Step:
        """JupyterLab's environment, the server's directory, the server."""
        bodofs = self.root / "workspaces" / _safe(spec.workspace.id) / "bodofs"
        path = f"workspaces/{_safe(spec.workspace.id)}/notebooks/{_safe(spec.id)}"
        image = ReleaseStep(self.images, spec.image)
        directory = DirectoryStep("directory", "notebook directory", self.root, path, notebooks.OWN)
        server = notebooks.NotebookStep(self.root / path, path, spec, self.images, self.python, bodofs, self.hidden)
        wanted_for: dict[Target, list[plan.PlanStep]] = {
            Target.RUNNING: [image, directory, server],
            Target.TERMINATED: [],
        }
        step = self._advance(wanted_for.get(target, [directory]), [image, directory, server], handle)
        return replace(step, events=[event for event in step.events if not _about_claim(event)])

    def observe_notebooks(self, handles: Sequence[Handle]) -> Sequence[NotebookObservation]:
        """Look at the supervisors, and what they wrote down."""
        return [
            notebooks.observe(self.root / directory["id"])
            if (directory := handle.get("steps", {}).get("directory")) and directory["id"]
            else NotebookObservation(alive=False)
            for handle in handles
        ]

    def notebook_address(self, handle: Handle) -> NotebookAddress:
        """The unix socket in its directory."""
        server = handle.get("steps", {}).get("server")
        if server is None or server["state"] != "ready":
            message = "The notebook server is not running."
            raise CloudError("NotebookNotRunning", message, "Start it under “My notebook”.")
        return NotebookAddress(socket=str(self.root / server["id"] / "lab.sock"))

    def observe_clusters(self, handles: Sequence[Handle]) -> Sequence[Observation]:
        """Look at the agents' processes and heartbeats."""
        return [Observation([self._observe(step) for step in _nodes(handle)]) for handle in handles]

    def start(self, handle: Handle, process: Process) -> Ref:
        """Start a job on the head node, with the cores and the memory of all nodes."""
        ref = self._ref(handle, process.id)
        if ref is None:
            raise _not_running()
        run = self.root / ref["run"]
        if processes.started(run):
            return ref
        nodes = _nodes(handle)
        if not nodes or any(step["state"] != "ready" for step in nodes):
            raise _not_running()
        try:
            launch.start([self.root / step["id"] for step in nodes], run, process, self.limits)
        except OSError as error:
            raise explained(error, ref["run"]) from error
        return ref

    def find(self, handle: Handle, process_id: str) -> Ref | None:
        """Look whether the job's agent took it."""
        ref = self._ref(handle, process_id)
        return ref if ref is not None and processes.started(self.root / ref["run"]) else None

    def poll(self, refs: Sequence[Ref]) -> Sequence[Exit | None]:
        """Read how the jobs ended."""
        return [processes.poll(self.root / ref["run"]) for ref in refs]

    def stop(self, handle: Handle, ref: Ref) -> None:
        """Ask for the end of a job."""
        processes.stop(self.root / ref["node"], self.root / ref["run"])

    def logs(self, handle: Handle, ref: Ref, stream: LogStream, offset: int, limit: int) -> LogChunk:
        """Read a log. It is there for as long as the workspace."""
        return processes.log(self.root / ref["run"], stream, offset, limit)

    def search(self, handle: Handle, ref: Ref, stream: LogStream, text: str, offset: int, limit: int) -> LogMatches:
        """Read through a log."""
        return logs.search(partial(processes.log, self.root / ref["run"], stream), text, offset, limit)

    def outputs(self, ref: Ref) -> LocalFiles:
        """The run's own directory for results. It is there for as long as the workspace."""
        return LocalFiles(self.root / ref["run"] / "output")

    def files(self, handle: Handle) -> LocalFiles:
        """The shared directory of a workspace."""
        step = handle.get("steps", {}).get("filesystem")
        if step is None or not step["id"]:
            raise CloudError("WorkspaceNotReady", "The workspace has no filesystem yet.", "Wait until it is READY.")
        return LocalFiles(self.root / step["id"] / "bodofs")

    def _ref(self, handle: Handle, process_id: str) -> Ref | None:
        """Where a job of this cluster is, or would be."""
        directory = handle.get("steps", {}).get("directory")
        if directory is None:
            return None
        return {"run": f"{directory['id']}/runs/{_safe(process_id)}", "node": f"{directory['id']}/node-0"}

    def _advance(self, wanted: Sequence[plan.PlanStep], known: Iterable[plan.PlanStep], handle: Handle) -> Step:
        """Errors of the system become ours; the ledger is as it was before the call that failed."""
        try:
            return plan.advance(wanted, known, handle, poll=self.poll_seconds)
        except OSError as error:
            return Step({"steps": {}, **handle}, Failed(explained(error, str(error.filename or self.root))))

    def _size(self, spec: ClusterSpec, target: Target) -> tuple[int, int]:
        """Cores and memory of an instance. Only who wants to run needs a type that is on offer."""
        types = {each.name: each for each in self.instance_types(REGION)}
        if spec.instance_type in types:
            return types[spec.instance_type].cores, types[spec.instance_type].memory
        if target is not Target.RUNNING:
            return 0, 0
        raise CloudError(
            "InstanceTypeUnknown",
            f"This machine cannot offer {spec.instance_type}.",
            f"Choose one of {', '.join(types)}.",
            permanent=True,
        )

    def _observe(self, step: dict[str, str]) -> Node:
        path = step["id"]
        index = int(path.rpartition("-")[2])
        agent = kernel.get(self.root / path / "agent.json")
        heartbeat, fresh = None, False
        with contextlib.suppress(FileNotFoundError):
            beat = (self.root / path / "heartbeat").stat()
            heartbeat = datetime.fromtimestamp(beat.st_mtime, UTC)
            fresh = time.monotonic() - beat.st_atime < HEARTBEAT_SECONDS  # see Agent.beat
        if step["state"] == "created":
            health = Health.STARTING  # ``NodeStep.ready`` starts it again if it died
        else:
            health = Health.HEALTHY if kernel.alive(agent) and fresh else Health.LOST
        address = f"127.0.0.1 (pid {agent['pid']})" if agent else "127.0.0.1"
        return Node(index, path.rpartition("/")[2], address, health, heartbeat)


def _nodes(handle: Handle) -> list[dict[str, str]]:
    """The ledger's nodes that should be there, in the order of their indexes."""
    nodes = [
        step
        for name, step in handle.get("steps", {}).items()
        if name.startswith("node-") and step["state"] in ("created", "ready")
    ]
    return sorted(nodes, key=lambda step: int(step["id"].rpartition("-")[2]))


def _about_claim(event: Event) -> bool:
    """Others may use an image: giving up our claim to it is no news."""
    return event.step == "release" and event.message.startswith("Remov")


def _safe(id: str) -> str:
    """An id that can be a directory's name."""
    if not _SAFE_ID.fullmatch(id):
        raise CloudError("InvalidId", f"{id!r} cannot name a directory.", permanent=True)
    return id


def _not_running() -> CloudError:
    return CloudError("ClusterNotRunning", "The cluster is not running.", "Start or resume it, then run the job again.")
