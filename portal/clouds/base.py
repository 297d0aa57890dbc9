"""The one interface behind which every cloud stands.

Dataclasses in, dataclasses out: nothing here or below imports Django, and nothing above learns which cloud it talks to.
A provider keeps no state of its own between calls; what it must remember travels in the ``handle``, a JSON object that
the caller stores after every step and gives back at the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

Handle = dict[str, Any]
"""What a provider must remember about a deployment, as JSON. Its one writer is ``portal.clouds.plan``."""


class Target(StrEnum):
    """The state a user asked a deployment to be in."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"


class CloudError(Exception):
    """A cloud said no.

    ``code`` is stable and one word (``InsufficientCapacity``); ``message`` says what happened in the provider's words;
    ``hint`` says what to do about it. ``permanent`` errors are not tried again without a change by a person; all
    others are, with back-off.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, permanent: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.hint, self.permanent = code, message, hint, permanent


@dataclass(frozen=True)
class Check:
    """One named check of an account, and what to do where it failed."""

    name: str
    passed: bool
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class Features:
    """What a provider offers beyond the least, so that nobody is asked for what is not there: spot instances, a choice
    of zone, roles of the customer's own for machines, networks of the customer's own, a search for what stands in the
    account without a record, notebook servers, and checks before a workspace is made. ``fast_network`` and ``role`` are
    what its people call these."""

    spot: bool = False
    zones: bool = False
    instance_roles: bool = False
    networks: bool = False
    orphans: bool = False
    notebooks: bool = False
    workspace_checks: bool = False
    fast_network: str = "accelerated networking"
    role: str = "Identity"


@dataclass(frozen=True)
class InstanceType:
    """A kind of machine. ``cores`` are physical cores (one Bodo worker each), ``memory`` is in MiB."""

    name: str
    vcpus: int
    cores: int
    memory: int
    accelerated_networking: bool = False

    @property
    def family(self) -> str:
        """What types of the same make have in common: ``c6i`` of ``c6i.32xlarge``."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Release:
    """A Bodo release that clusters can be made with, newest first where a provider lists several."""

    version: str
    installed: bool = True


@dataclass(frozen=True)
class Network:
    """A network that the customer made, by the provider's ids: where machines are to be, and which rules hold there.
    ``endpoints`` are private ways to services, by the service's short name (``s3``, ``ssm``, ``platform``)."""

    id: str
    subnets: Sequence[str]
    security_groups: Sequence[str]
    endpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkspaceSpec:
    """What a workspace should be. ``id`` is our uuid: everything a provider makes is named or tagged by it. Without a
    ``network`` the provider makes one."""

    id: str
    name: str
    region: str
    network: Network | None = None


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster should be. ``generation`` grows at each restart: machines of an older one are replaced. Without a
    ``zone`` the provider chooses one, and another where it has no machines; ``instance_role`` is the handle of the
    customer's own role, empty for the workspace's."""

    id: str
    name: str
    workspace: WorkspaceSpec
    workspace_handle: Handle
    instance_type: str
    instances: int
    release: str
    generation: int = 1
    spot: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    instance_role: Handle = field(default_factory=dict)


@dataclass(frozen=True)
class InstanceRoleSpec:
    """A role that the customer made for machines of one workspace. ``role`` is what the provider calls it (an ARN)."""

    id: str
    workspace: WorkspaceSpec
    workspace_handle: Handle
    role: str


@dataclass(frozen=True)
class NotebookSpec:
    """What a notebook server should be. ``image`` is a version of its environment, ``size`` the name of one of
    ``notebook_sizes``. ``generation`` grows at each restart: a server of an older one is replaced.

    It serves below ``path`` (``/notebooks/<id>/``), and answers only requests whose header X-Portal-Notebook holds
    ``secret``, which is on no command line. ``person`` is its owner's name.
    """

    id: str
    workspace: WorkspaceSpec
    workspace_handle: Handle
    image: str
    size: str
    generation: int
    path: str
    secret: str = field(repr=False)
    person: str = ""


@dataclass(frozen=True)
class NotebookAddress:
    """Where a notebook server listens: a unix socket by its path, or a host and port."""

    socket: str = ""
    host: str = ""
    port: int = 0


@dataclass(frozen=True)
class NotebookObservation:
    """What a provider sees of a notebook server. ``active_at`` (UTC) is when a kernel or a terminal last did something,
    None where none has yet; ``busy`` says that a cell runs."""

    alive: bool
    active_at: datetime | None = None
    busy: bool = False


@dataclass(frozen=True)
class NotebookSize:
    """What a notebook server may have: ``vcpus``, and MiB of ``memory``."""

    name: str
    vcpus: int
    memory: int


@dataclass(frozen=True)
class Owned:
    """A deployment as our records have it: ``kind`` is workspace, cluster or instance role, ``id`` our uuid."""

    kind: str
    id: str
    name: str
    region: str
    handle: Handle


@dataclass(frozen=True)
class Orphan:
    """Something in the account that is tagged as ours and stands in no handle. ``key`` names it for good, ``id`` is the
    provider's; ``deployment`` and ``step`` are what its tags say. ``daily`` is US dollars for a day, None where nobody
    knows. It can be adopted where its deployment is there and lacks just this step."""

    key: str
    id: str
    kind: str
    name: str
    region: str
    deployment: str
    step: str
    daily: Decimal | None = None
    since: datetime | None = None
    adoptable: bool = False


class Level(StrEnum):
    """How much a person should care about an event."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Event:
    """A line in the details of a deployment. ``progress`` runs from 0 to 1 where it is known."""

    step: str
    message: str
    level: Level = Level.INFO
    progress: float | None = None


@dataclass(frozen=True)
class Settled:
    """The target is reached; nothing is due."""


@dataclass(frozen=True)
class Pending:
    """Not there yet; call again in ``after`` seconds. ``initializing`` says that machines are up and being prepared;
    ``trying`` that this is a try that may still fail, so that those which failed before count."""

    after: float
    initializing: bool = False
    trying: bool = False


@dataclass(frozen=True)
class Failed:
    """The target cannot be reached now."""

    error: CloudError


@dataclass(frozen=True)
class Step:
    """The answer to one ``advance`` call: the new handle, what to tell people, and how things stand."""

    handle: Handle
    outcome: Settled | Pending | Failed
    events: Sequence[Event] = ()


class Health(StrEnum):
    """How a node looks from outside."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    LOST = "LOST"


@dataclass(frozen=True)
class Node:
    """One machine of a cluster. ``index`` counts from 0; ``heartbeat`` is when it was last heard of (UTC)."""

    index: int
    name: str
    address: str
    health: Health
    heartbeat: datetime | None = None


@dataclass(frozen=True)
class Observation:
    """What a provider sees of one cluster, in the order in which the handles were given."""

    nodes: Sequence[Node]

    @property
    def lost(self) -> Sequence[Node]:
        """The nodes that should be there and are not."""
        return [node for node in self.nodes if node.health is Health.LOST]


class LaunchMode(StrEnum):
    """How a Python file meets its workers; the two must not be mixed (docs/jobs.md)."""

    SPAWN = "spawn"
    SPMD = "spmd"


class Root(StrEnum):
    """The two places where the code of a process can be."""

    WORKSPACE = "workspace"
    BUNDLE = "bundle"


@dataclass(frozen=True)
class Process:
    """A job to start on a cluster. ``id`` is our uuid: starting the same id twice gives the first start's reference.

    ``file`` is relative to ``root``; the process works in ``directory``. ``bundle`` is a directory on the portal's
    machine, or empty; the provider copies it beside the run before the process starts, and needs it no more once
    ``start`` has returned. ``timeout`` is in seconds; the machine itself keeps it, so that it holds while the portal is
    down.

    The process finds the workspace's files in PORTAL_BODOFS, its copy of the bundle in PORTAL_BUNDLE, and in
    PORTAL_OUTPUT an empty directory for results, which is kept with the run.
    """

    id: str
    file: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    mode: LaunchMode
    workers: int
    timeout: float
    root: Root = Root.WORKSPACE
    directory: Root = Root.WORKSPACE
    bundle: str = ""


Ref = dict[str, Any]
"""Where a started process is found again, as JSON."""


class ExitReason(StrEnum):
    """Why a process ended. RANK_FAILED: one of several ranks ended with a code or by a signal, and the others were
    ended with it."""

    EXITED = "EXITED"
    SIGNALLED = "SIGNALLED"
    RANK_FAILED = "RANK_FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"
    LOST = "LOST"


@dataclass(frozen=True)
class Exit:
    """How a process ended. ``started`` and ``ended`` are UTC, as the machine that ran it saw them; ``code`` is None
    where there was no exit code to be had (a signal, a lost machine). ``detail`` says more in a sentence for people:
    which rank it was, how much memory there was."""

    reason: ExitReason
    code: int | None
    started: datetime | None
    ended: datetime
    signal: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class LogChunk:
    """Bytes of a log from ``offset``; ``next_offset`` is where to go on, ``size`` what the log held when read."""

    data: bytes
    offset: int
    next_offset: int
    size: int


@dataclass(frozen=True)
class LogLine:
    """A line in which something was found: where it begins, and its bytes without the end of the line. A very long one
    is cut around what was found, and ``offset`` is where the cut begins."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class LogMatches:
    """What a search found, in the order of the log. ``next_offset`` is where to go on; the search is over where it
    equals ``size``."""

    lines: Sequence[LogLine]
    next_offset: int
    size: int


class LogStream(StrEnum):
    """The two outputs of a process."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True)
class FileEntry:
    """One entry of a folder; ``size`` in bytes, ``modified`` in UTC, ``kind`` file, folder or link (never followed)."""

    name: str
    path: str
    kind: str
    size: int
    modified: datetime


class Files(Protocol):
    """The shared filesystem of a workspace. Paths are relative, with ``/``; leaving the root is ``PathNotAllowed``."""

    def list(self, path: str) -> Sequence[FileEntry]:
        """The entries of a folder: folders first, then by name."""

    def stat(self, path: str) -> FileEntry:
        """One entry; ``FileNotFound`` where there is none."""

    def open(self, path: str) -> BinaryIO:
        """A file for reading."""

    def save(self, path: str, chunks: Iterator[bytes]) -> int:
        """Write a file whole or not at all, and return its size in bytes."""

    def make_folder(self, path: str) -> None:
        """Make a folder; its parent must exist."""

    def move(self, source: str, destination: str) -> None:
        """Rename within the filesystem; ``FileExists`` rather than replace."""

    def delete(self, path: str) -> None:
        """Delete a file, a link, or a folder with everything in it."""


class Outputs(Files, Protocol):
    """What a process wrote to PORTAL_OUTPUT, for reading."""

    def link(self, path: str, name: str) -> str | None:
        """An address at which a browser gets a file from the provider itself, for some minutes and without asking who
        it is, to save it under a name; None where there is none, and the portal has to bring it."""


@dataclass(frozen=True)
class AlarmSpec:
    """What a usage alarm should be. ``id`` is our uuid: what a provider makes is named or tagged by it.

    It goes off when more than ``threshold`` vCPUs are in use for ``period`` seconds (a multiple of 60). ``topic`` is
    the name of the list of endpoints that is made for it, or the ARN of one that is there already. ``endpoints`` are
    e-mail addresses, each with how often it was asked to confirm: a higher number asks again.
    """

    id: str
    name: str
    topic: str
    threshold: int
    period: int
    endpoints: Mapping[str, int] = field(default_factory=dict)


class AlarmState(StrEnum):
    """What an alarm says. INSUFFICIENT_DATA: the metric has gaps, so that nobody can tell."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class EndpointState(StrEnum):
    """How an e-mail endpoint stands. Only a CONFIRMED one gets mail."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    UNSUBSCRIBED = "UNSUBSCRIBED"


@dataclass(frozen=True)
class AlarmObservation:
    """What an alarm says ``at`` a time (UTC), and why in a sentence. ``endpoints`` are those that the provider knows;
    None where the portal itself keeps them."""

    state: AlarmState
    reason: str
    at: datetime
    endpoints: Mapping[str, EndpointState] | None = None


@dataclass(frozen=True)
class Sample:
    """The most vCPUs that were in use in the stretch of time that begins ``at`` (UTC)."""

    at: datetime
    vcpus: float


class Alarms(Protocol):
    """The usage alarms of one account, over its own metric: the vCPUs of all running instances. Calls may raise
    ``CloudError``; none may be made inside a database transaction."""

    portal_sends: bool
    """Whether the portal asks endpoints to confirm and tells them what the alarm says; else the provider does."""

    observe_seconds: float
    """How often it is worth asking what alarms say, in seconds."""

    def advance_alarm(self, spec: AlarmSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward RUNNING or TERMINATED."""

    def observe_alarms(self, alarms: Sequence[tuple[AlarmSpec, Handle]]) -> Sequence[AlarmObservation]:
        """What many alarms say, in their order."""

    def metric_history(self, start: datetime, end: datetime, period: int) -> Sequence[Sample]:
        """The metric in ``[start, end)``, oldest first, a sample for each ``period`` seconds that has data. Periods are
        counted from the epoch."""

    def total_vcpus(self) -> int | None:
        """How many vCPUs there are at all; None where nobody knows."""


class Cloud(Protocol):
    """What every provider does. All calls may raise ``CloudError``; none may be made inside a database transaction."""

    poll_seconds: float
    """How often it is worth asking for a process's exit, in seconds."""

    observe_seconds: float
    """How often it is worth asking for the state of machines, in seconds."""

    catalogue_seconds: float
    """How often it is worth asking for zones and instance types, in seconds: the caller keeps the answer for so long.
    0 where that costs nothing, and nobody keeps it."""

    features: Features

    def check(self) -> Sequence[Check]:
        """Look whether the account can be used. Changes nothing."""

    def check_network(self, region: str, network: Network) -> Sequence[Check]:
        """Look whether a workspace can be in a network that the customer made. Changes nothing."""

    def check_workspace(self, spec: WorkspaceSpec) -> Sequence[Check]:
        """Look whether a workspace can be made now: quotas, permissions, network. Changes nothing."""

    def check_cluster(self, spec: ClusterSpec) -> Sequence[Check]:
        """Look whether a cluster can be made now: quotas, what is on offer where, addresses, permissions, price.
        Changes nothing."""

    def regions(self) -> Sequence[str]:
        """The regions where a workspace can be."""

    def zones(self, region: str) -> Sequence[str]:
        """The availability zones of a region."""

    def zones_of(self, workspace_handle: Handle) -> Sequence[str]:
        """The zones where clusters of a workspace can be, empty where that is any of its region. Asks nobody."""

    def instance_types(self, region: str) -> Sequence[InstanceType]:
        """The machines on offer, smallest first."""

    def total_vcpus(self) -> int | None:
        """How many vCPUs all instances may have together; None where nobody knows."""

    def releases(self) -> Sequence[Release]:
        """The Bodo releases on offer, newest first."""

    def advance_workspace(self, spec: WorkspaceSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward RUNNING or TERMINATED."""

    def advance_cluster(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward the target. Idempotent: a lost answer is found again by our uuid."""

    def advance_instance_role(self, spec: InstanceRoleSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward RUNNING (machines of the workspace can have the role) or TERMINATED (what was added to
        the role is taken off it)."""

    def notebook_images(self) -> Sequence[Release]:
        """The environments on offer for notebook servers, newest first."""

    def notebook_sizes(self, region: str) -> Sequence[NotebookSize]:
        """The sizes of notebook servers on offer, smallest first."""

    def advance_notebook(self, spec: NotebookSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward RUNNING (it answers), STOPPED (its owner's settings are kept) or TERMINATED."""

    def observe_notebooks(self, handles: Sequence[Handle]) -> Sequence[NotebookObservation]:
        """How many notebook servers are, with one call, in the order of the handles."""

    def notebook_address(self, handle: Handle) -> NotebookAddress:
        """Where a running notebook server listens. Asks nobody. Raises CloudError(NotebookNotRunning)."""

    def find_orphans(self, owned: Sequence[Owned]) -> Sequence[Orphan]:
        """What is tagged as ours in the account and stands in none of the handles. Takes seconds."""

    def remove_orphan(self, orphan: Orphan) -> bool:
        """Go on removing something without a record; True once it is absent. Looks at its tags again first."""

    def adopt_orphan(self, orphan: Orphan, handle: Handle) -> Handle:
        """The handle of its deployment with the orphan in it. Raises CloudError(NotAdoptable)."""

    def observe_clusters(self, handles: Sequence[Handle]) -> Sequence[Observation]:
        """What is there now, for many clusters with one call."""

    def start(self, handle: Handle, process: Process) -> Ref:
        """Start a process on a cluster, once per ``process.id``. Comes back within the engine's lease, started or not:
        no process appears after an error was raised that says it did not start."""

    def find(self, handle: Handle, process_id: str) -> Ref | None:
        """The reference of a process that was started on this cluster, or None. Starts nothing."""

    def poll(self, refs: Sequence[Ref]) -> Sequence[Exit | None]:
        """The exits of many processes with one call; None for one that runs."""

    def stop(self, handle: Handle, ref: Ref) -> None:
        """Ask for the end of a process and of all its ranks; the exit comes by ``poll``."""

    def logs(self, handle: Handle, ref: Ref, stream: LogStream, offset: int, limit: int) -> LogChunk:
        """Up to ``limit`` bytes of a log; a negative offset counts from its end. Costs what it returns, not the log."""

    def search(self, handle: Handle, ref: Ref, stream: LogStream, text: str, offset: int, limit: int) -> LogMatches:
        """Up to ``limit`` lines from ``offset`` on that hold the text, whatever the case of the letters A to Z. Looks
        through a part of a long log at a time: go on at ``next_offset``."""

    def log_link(self, ref: Ref, stream: LogStream, name: str) -> str | None:
        """Like ``Outputs.link``, the whole log of a process that has ended. No secret in it is masked."""

    def outputs(self, ref: Ref) -> Outputs:
        """What a process wrote to PORTAL_OUTPUT, for reading; there as long as its logs."""

    def files(self, handle: Handle) -> Files:
        """The shared filesystem of a workspace, by the workspace's handle."""
