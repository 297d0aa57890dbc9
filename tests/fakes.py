"""A cloud in memory over the real plan engine, which fails as clouds do, and the workers and the clock that go with it.

Everything a provider would make is a ``Thing`` in ``FakeCloud.things``; every call to the provider passes ``call``,
where a ``Fault`` can strike before it takes effect or after (the answer is lost).
"""

from __future__ import annotations

import io
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from django.utils import timezone

from portal import reconcile as engine
from portal.clouds import logs, plan
from portal.clouds.base import (
    Check,
    CloudError,
    ClusterSpec,
    Event,
    Exit,
    ExitReason,
    Features,
    FileEntry,
    Handle,
    Health,
    InstanceRoleSpec,
    InstanceType,
    LogChunk,
    LogMatches,
    LogStream,
    Node,
    Observation,
    Pending,
    Process,
    Ref,
    Release,
    Step,
    Target,
    WorkspaceSpec,
)
from portal.clouds.lacking import Lacking


class Killed(BaseException):
    """The worker was killed: nothing catches it."""


def denied() -> CloudError:
    return CloudError("AccessDenied", "The role may not do this.", "Ask the account's owner.", permanent=True)


def throttled() -> CloudError:
    return CloudError("Throttled", "Too many requests.", "Wait.")


def unreachable() -> CloudError:
    return CloudError("Unreachable", "The provider does not answer.")


@dataclass
class Fault:
    """Strikes ``times`` calls of a ``kind`` (any if empty), after letting ``skip`` of them pass."""

    error: Callable[[], BaseException]
    kind: str = ""
    skip: int = 0
    times: int = 1
    after: bool = False


@dataclass
class Thing:
    """One resource of the provider's."""

    id: str
    fingerprint: str
    looks: int = 0
    going: int = 0


@dataclass
class FakeProcess:
    """One started process; it needs the machines it was started on. ``bundle`` is what was in its bundle, by path."""

    process: Process
    machines: dict[str, str]
    exit: Exit | None = None
    logs: dict[LogStream, bytes] = field(default_factory=dict)
    outputs: FakeFiles = field(default_factory=lambda: FakeFiles(anything=False))
    bundle: dict[str, bytes] = field(default_factory=dict)


def _kind(cores: int) -> InstanceType:
    return InstanceType(f"local.{cores}x", cores, cores, cores * 1024)


@dataclass
class FakeCloud(Lacking):
    """The provider. ``looks`` is how often a thing must be looked at until it is ready, ``going`` until it is gone."""

    capacity: int = 1000
    disks: bool = True
    looks: int = 1
    going: int = 1
    poll_seconds: float = 0.1
    observe_seconds: float = 1.0
    catalogue_seconds: float = 0.0
    features: Features = field(default_factory=Features)
    kinds: list[InstanceType] = field(default_factory=lambda: [_kind(cores) for cores in (1, 2, 4)])
    region_zones: list[str] = field(default_factory=lambda: ["local-a"])
    workspace_zones: list[str] = field(default_factory=list)
    stands_in_the_way: list[Check] = field(default_factory=list)
    asked: list[ClusterSpec | WorkspaceSpec] = field(default_factory=list)
    things: dict[str, Thing] = field(default_factory=dict)
    processes: dict[str, FakeProcess] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    duplicates: list[str] = field(default_factory=list)
    hanging: set[str] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    shared: FakeFiles = field(default_factory=lambda: FakeFiles())

    # --- what tests do to it ---

    def fault(self, error: Callable[[], BaseException], kind: str = "", **how: Any) -> None:
        """Let the next calls of a kind fail; ``times=0`` heals them."""
        self.faults = [fault for fault in self.faults if fault.kind != kind]
        self.faults.append(Fault(error, kind, **how))

    def heal(self) -> None:
        self.faults.clear()
        self.hanging.clear()

    def count(self, kind: str) -> int:
        return sum(1 for each, _ in self.calls if each == kind)

    def nodes(self, owner: object) -> list[str]:
        """The machines that cost money."""
        return sorted(key for key in self.things if key.startswith(f"{owner}/node-"))

    def vanish(self, owner: object, index: int) -> None:
        """A machine is lost."""
        del self.things[f"{owner}/node-{index}"]

    def finish(self, run: object, code: int | None = 0, reason: ExitReason = ExitReason.EXITED, **how: Any) -> Exit:
        """A process ends."""
        ended = how.pop("ended", timezone.now())
        found = Exit(reason, code, how.pop("started", None), ended, **how)
        self.processes[str(run)].exit = found
        return found

    def say(self, run: object, data: bytes, stream: LogStream = LogStream.STDOUT) -> None:
        """A process writes to its log."""
        written = self.processes[str(run)].logs
        written[stream] = written.get(stream, b"") + data

    def running(self) -> list[str]:
        """The processes that have machines and have not ended."""
        return [key for key, each in self.processes.items() if each.exit is None and not self._lost(each)]

    # --- the interface ------------------------------------------------------------------------------------------------

    def call(self, kind: str, name: str, effect: Callable[[], Any]) -> Any:
        self.calls.append((kind, name))
        struck: Fault | None = None
        for fault in self.faults:
            if fault.kind in {"", kind} and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                struck = fault
                break
        if struck and not struck.after:
            raise struck.error()
        answer = effect()
        if struck:
            raise struck.error()
        return answer

    def check(self) -> Sequence[Check]:
        return [Check("account", True, "It answers.")]

    def regions(self) -> Sequence[str]:
        return ["local"]

    def zones(self, region: str) -> Sequence[str]:
        return self.region_zones

    def zones_of(self, workspace_handle: Handle) -> Sequence[str]:
        return self.workspace_zones

    def instance_types(self, region: str) -> Sequence[InstanceType]:
        """Where the answer is kept, asking is a call that can fail."""
        if not self.catalogue_seconds:
            return self.kinds
        return list(self.call("instance-types", region, lambda: self.kinds))

    def check_workspace(self, spec: WorkspaceSpec) -> Sequence[Check]:
        self.asked.append(spec)
        return list(self.call("check-workspace", spec.id, lambda: self.stands_in_the_way))

    def check_cluster(self, spec: ClusterSpec) -> Sequence[Check]:
        self.asked.append(spec)
        return list(self.call("check-cluster", spec.id, lambda: self.stands_in_the_way))

    def advance_instance_role(self, spec: InstanceRoleSpec, handle: Handle, target: Target) -> Step:
        steps = [FakeStep(self, spec.id, name, name, spec.role) for name in ("role", "policies")]
        return plan.advance([] if target is Target.TERMINATED else steps, steps, handle)

    def total_vcpus(self) -> int | None:
        return self.capacity

    def releases(self) -> Sequence[Release]:
        return [Release("2026.10")]

    def advance_workspace(self, spec: WorkspaceSpec, handle: Handle, target: Target) -> Step:
        names = ("network", "filesystem")
        steps = [FakeStep(self, spec.id, name, name, "1") for name in names]
        return plan.advance([] if target is Target.TERMINATED else steps, steps, handle)

    def advance_cluster(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        def disk(index: int) -> FakeStep:
            return FakeStep(self, spec.id, f"disk-{index}", "disks", spec.instance_type)

        def node(index: int) -> FakeStep:
            fingerprint = f"{spec.instance_type} {spec.release} {spec.generation}"
            return FakeStep(self, spec.id, f"node-{index}", "nodes", fingerprint)

        disks = [disk(index) for index in range(spec.instances) if self.disks]
        nodes = [node(index) for index in range(spec.instances)]
        wanted = {Target.RUNNING: [*disks, *nodes], Target.PAUSED: disks}.get(target, [])
        there = {int(name.partition("-")[2]) for name in handle.get("steps", {})}
        known = [make(index) for index in sorted(there) for make in (disk, node)]
        return plan.advance(wanted, known, {**handle, "cluster": spec.id})

    def observe_clusters(self, handles: Sequence[Handle]) -> Sequence[Observation]:
        return list(self.call("observe", "", lambda: [self._observe(handle) for handle in handles]))

    def start(self, handle: Handle, process: Process) -> Ref:
        def effect() -> Ref:
            if process.id not in self.processes:
                nodes = self.nodes(handle.get("cluster"))
                if not nodes:
                    raise CloudError("ClusterNotRunning", "The cluster is not running.")
                self.starts[process.id] += 1
                machines = {key: self.things[key].id for key in nodes}
                self.processes[process.id] = FakeProcess(process, machines, bundle=_contents(process.bundle))
            return {"process": process.id}

        ref: Ref = self.call("start", process.id, effect)
        return ref

    def find(self, handle: Handle, process_id: str) -> Ref | None:
        def effect() -> Ref | None:
            return {"process": process_id} if process_id in self.processes else None

        found: Ref | None = self.call("find-process", process_id, effect)
        return found

    def poll(self, refs: Sequence[Ref]) -> Sequence[Exit | None]:
        return list(self.call("poll", "", lambda: [self._exit(self.processes[ref["process"]]) for ref in refs]))

    def stop(self, handle: Handle, ref: Ref) -> None:
        def effect() -> None:
            found = self.processes[ref["process"]]
            self.stopped.append(ref["process"])
            found.exit = self._exit(found) or Exit(ExitReason.CANCELLED, None, None, timezone.now())

        self.call("stop", ref["process"], effect)

    def logs(self, handle: Handle, ref: Ref, stream: LogStream, offset: int, limit: int) -> LogChunk:
        log = self.processes[ref["process"]].logs.get(stream, b"")
        begin = max(0, len(log) + offset) if offset < 0 else min(offset, len(log))
        data = log[begin : begin + limit]
        return LogChunk(data, begin, begin + len(data), len(log))

    def search(self, handle: Handle, ref: Ref, stream: LogStream, text: str, offset: int, limit: int) -> LogMatches:
        return logs.search(partial(self.logs, handle, ref, stream), text, offset, limit)

    def log_link(self, ref: Ref, stream: LogStream, name: str) -> str | None:
        links = self.processes[ref["process"]].outputs.links
        return f"https://files.example.org/{stream.value}?as={name}" if links else None

    def outputs(self, ref: Ref) -> FakeFiles:
        return self.processes[ref["process"]].outputs

    def files(self, handle: Handle) -> FakeFiles:
        return self.shared

    def _observe(self, handle: Handle) -> Observation:
        nodes = []
        for name, entry in sorted(handle.get("steps", {}).items()):
            if name.startswith("node-") and entry["state"] == "ready":
                key = f"{handle['cluster']}/{name}"
                health = Health.HEALTHY if key in self.things else Health.LOST
                nodes.append(Node(int(name.partition("-")[2]), name, "10.0.0.1", health, timezone.now()))
        return Observation(nodes)

    def _lost(self, found: FakeProcess) -> bool:
        return any(key not in self.things or self.things[key].id != id for key, id in found.machines.items())

    def _exit(self, found: FakeProcess) -> Exit | None:
        if found.exit is None and self._lost(found):
            found.exit = Exit(ExitReason.LOST, None, None, timezone.now())
        return found.exit


def _contents(bundle: str) -> dict[str, bytes]:
    files = [path for path in Path(bundle).rglob("*") if path.is_file()] if bundle else []
    return {str(path.relative_to(bundle)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class FakeStep:
    """One resource in a plan."""

    cloud: FakeCloud
    owner: str
    name: str
    group: str
    fingerprint: str

    @property
    def label(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return f"{self.owner}/{self.name}"

    def find(self) -> str | None:
        def effect() -> str | None:
            thing = self.cloud.things.get(self.key)
            return thing.id if thing else None

        found: str | None = self.cloud.call("find", self.key, effect)
        return found

    def create(self) -> str:
        def effect() -> str:
            if self.key in self.cloud.things:
                self.cloud.duplicates.append(self.key)
            nodes = sum("/node-" in key for key in self.cloud.things)
            if self.name.startswith("node-") and nodes >= self.cloud.capacity:
                raise CloudError("InsufficientCapacity", "There are no machines of this type.", "Ask for fewer.")
            self.cloud.things[self.key] = Thing(f"id-{uuid.uuid4().hex[:8]}", self.fingerprint)
            return self.cloud.things[self.key].id

        made: str = self.cloud.call("create", self.key, effect)
        return made

    def ready(self, id: str) -> bool | Pending | Event:
        def effect() -> bool | Pending:
            thing = self.cloud.things[self.key]
            assert thing.id == id
            thing.looks += 1
            up = thing.looks > self.cloud.looks and self.key not in self.cloud.hanging
            return up or Pending(1.0, initializing=self.name.startswith("node-"))

        answer: bool | Pending = self.cloud.call("ready", self.key, effect)
        return answer

    def delete(self, id: str | None) -> bool:
        def effect() -> bool:
            thing = self.cloud.things.get(self.key)
            if thing is None:
                return True
            thing.going += 1
            if thing.going > self.cloud.going and self.key not in self.cloud.hanging:
                del self.cloud.things[self.key]
            return self.key not in self.cloud.things

        gone: bool = self.cloud.call("delete", self.key, effect)
        return gone


@dataclass
class FakeFiles:
    """A filesystem in memory. In one that holds ``anything``, every file is there. With ``links`` it hands out its
    files itself."""

    saved: dict[str, bytes] = field(default_factory=dict)
    anything: bool = True
    links: bool = False

    def list(self, path: str) -> Sequence[FileEntry]:
        return [self.stat(name) for name in self.saved]

    def stat(self, path: str) -> FileEntry:
        if not self.anything:
            self._need(path)
        return FileEntry(path.rpartition("/")[2], path, "file", len(self.saved.get(path, b"")), datetime.now(UTC))

    def open(self, path: str) -> BinaryIO:
        if not self.anything:
            self._need(path)
        return io.BytesIO(self.saved.get(path, b""))

    def save(self, path: str, chunks: Iterator[bytes]) -> int:
        self.saved[path] = b"".join(chunks)
        return len(self.saved[path])

    def make_folder(self, path: str) -> None:
        """Nothing to do."""

    def move(self, source: str, destination: str) -> None:
        self.saved[destination] = self.saved.pop(source)

    def link(self, path: str, name: str) -> str | None:
        self.stat(path)
        return f"https://files.example.org/{path}?as={name}" if self.links else None

    def delete(self, path: str) -> None:
        del self.saved[path]

    def _need(self, path: str) -> None:
        if path not in self.saved:
            raise CloudError("FileNotFound", f"{path} does not exist.", permanent=True)


class Clock:
    """Stands in for ``timezone.now``; moves only when it is told to."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> datetime:
        self.at += timedelta(**by)
        return self.at


class Workers:
    """The scheduler and the workers, one after the other, on a clock that jumps to what is due next."""

    def __init__(self, clock: Clock, capture: Callable[..., Any]) -> None:
        self.clock = clock
        self.capture = capture
        self.sent: list[tuple[str, str]] = []
        self.periodic: list[Callable[[], object]] = []

    def send(self, name: str, pk: object) -> None:
        """In the place of ``portal.queue.send``."""
        self.sent.append((name, str(pk)))

    def do(self, act: Callable[[], Any]) -> Any:
        """Do something as a request does, with its commit."""
        with self.capture(execute=True):
            return act()

    def run(self, row: Any) -> None:
        """One worker takes one job."""
        name = row._meta.model_name
        with self.capture(execute=True):
            engine.run(name, str(row.pk))

    def work(self, seconds: float = 600, limit: int = 2000) -> None:
        """Go on until nothing is due, or what is due lies further ahead than ``seconds``."""
        end = self.clock.at + timedelta(seconds=seconds)
        for _ in range(limit):
            with self.capture(execute=True):
                for work in self.periodic:
                    work()
                engine.sweep()
            jobs, self.sent = dict.fromkeys(self.sent), []
            for name, pk in jobs:
                with self.capture(execute=True):
                    engine.run(name, pk)
            if self.sent:
                continue
            due = self.next_due()
            if due is None or due > end:
                return
            self.clock.at = max(self.clock.at, due)
        raise AssertionError("It does not come to rest.")

    def next_due(self) -> datetime | None:
        """When the sweep will find something."""
        found: list[datetime] = []
        for machine in engine._machines.values():
            rows = machine.model._default_manager.filter(due_at__isnull=False)
            for due_at, lease_until in rows.values_list("due_at", "lease_until"):
                found.append(max(due_at, lease_until + timedelta(seconds=1)) if lease_until else due_at)
        return min(found, default=None)
