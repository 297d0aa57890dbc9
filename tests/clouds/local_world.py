"""A LOCAL cloud with a light stand-in for a Bodo release, so that real processes run in milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from portal.clouds.base import (
    ClusterSpec,
    Event,
    Exit,
    Failed,
    Handle,
    Health,
    LaunchMode,
    LogStream,
    Pending,
    Process,
    Ref,
    Root,
    Step,
    Target,
    WorkspaceSpec,
)
from portal.clouds.local.installer import write_whole_lines
from portal.clouds.local.provider import LocalCloud
from portal.clouds.local.releases import Releases

CAPACITY = 4
"""Cores of the test's machine, whatever the real one has."""

MPIEXEC = """#!{python}
import os, subprocess, sys
arguments = sys.argv[1:]
log = arguments[arguments.index("-outfile-pattern") + 1]
count, *program = arguments[arguments.index("-n") + 1:]
(output, written), (statuses, told) = os.pipe(), os.pipe()
proxy = [os.path.join(os.path.dirname(__file__), "hydra_pmi_proxy"), str(told), count, *program]
proxy = subprocess.Popen(proxy, stdout=written, pass_fds=[told], start_new_session=True)
os.close(written)
os.close(told)
with open(log, "wb", 0) as file:
    while data := os.read(output, 65536):
        file.write(data)
codes = open(statuses).read()
print("[mpiexec@here] Exit codes: [here] " + codes, flush=True)
code = 0
for status in map(int, codes.split(",")):
    code |= status >> 8 | status & 127
sys.exit(code)
"""
"""Like Hydra's: waits until nobody holds the ranks' output open, and ends with all their codes OR'd."""

PROXY = """#!{python}
import os, subprocess, sys
told, count, *program = sys.argv[1:]
start = lambda rank: subprocess.Popen(program, start_new_session=True, env=dict(os.environ, PMI_RANK=str(rank)))
ranks = {{start(rank).pid: rank for rank in range(int(count))}}
statuses, alive = [0] * len(ranks), set(ranks)
while alive:
    pid, status = os.wait()
    alive.discard(pid)
    statuses[ranks[pid]] = status
    if os.WIFSIGNALED(status):
        for other in alive:
            os.kill(other, 9)
            os.waitpid(other, 0)
        break
os.write(int(told), ",".join(map(str, statuses)).encode())
"""
"""The parent of the ranks. When a signal ends one, it ends the others, whose statuses stay 0."""


T = TypeVar("T")


def wait_for(question: Callable[[], T], seconds: float = 20) -> T:
    """The first answer that is true; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return answer


def processes_of(path: Path) -> list[int]:
    """Living processes with a directory in their environment or command line: agents, jobs, installers."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                marks = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(path) in marks:
                found.append(int(name))
    return found


def jobs_of(world: World) -> list[int]:
    """Everything that runs except the agents."""
    jobs = []
    for pid in processes_of(world.clusters):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"PORTAL_AGENT=" not in Path(f"/proc/{pid}/environ").read_bytes():
                jobs.append(pid)
    return jobs


@dataclass
class World:
    """A cloud with one workspace, and what a caller does around it: storing handles, ticking, waiting."""

    cloud: LocalCloud
    workspace: WorkspaceSpec
    workspace_handle: Handle = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def settle(self, advance: Callable[[Handle], Step], handle: Handle, seconds: float = 30) -> Handle:
        deadline = time.monotonic() + seconds
        while True:
            step = advance(handle)
            self.events += step.events
            handle = json.loads(json.dumps(step.handle, sort_keys=True))
            if isinstance(step.outcome, Failed):
                error = step.outcome.error
                error.handle = handle  # type: ignore[attr-defined]
                raise error
            if not isinstance(step.outcome, Pending):
                return handle
            assert time.monotonic() < deadline, f"does not settle: {step}"
            time.sleep(step.outcome.after)

    def deploy(self, target: Target = Target.RUNNING) -> None:
        self.workspace_handle = self.settle(
            lambda handle: self.cloud.advance_workspace(self.workspace, handle, target), self.workspace_handle
        )

    def spec(self, instances: int = 1, instance_type: str = "local.1x", **more: Any) -> ClusterSpec:
        more = {"release": RELEASE, "id": str(uuid.uuid4()), **more}
        return ClusterSpec(
            name="c",
            workspace=self.workspace,
            workspace_handle=self.workspace_handle,
            instance_type=instance_type,
            instances=instances,
            **more,
        )

    def go(self, spec: ClusterSpec, target: Target = Target.RUNNING, handle: Handle | None = None) -> Handle:
        return self.settle(lambda handle: self.cloud.advance_cluster(spec, handle, target), handle or {})

    @property
    def bodofs(self) -> Path:
        return self.cloud.root / "workspaces" / self.workspace.id / "bodofs"

    @property
    def clusters(self) -> Path:
        return self.cloud.root / "workspaces" / self.workspace.id / "clusters"

    def process(self, code: str, *arguments: str, **more: Any) -> Process:
        """A process that runs ``code``, from a bundle if there is one."""
        settings = {"environment": {}, "mode": LaunchMode.SPAWN, "workers": 1, "timeout": 60.0, **more}
        settings.setdefault("id", str(uuid.uuid4()))
        file = f"{settings['id']}.py"
        if settings.get("bundle"):
            settings = {"root": Root.BUNDLE, "directory": Root.BUNDLE, **settings}
        (Path(settings["bundle"]) if settings.get("root") is Root.BUNDLE else self.bodofs).joinpath(file).write_text(
            code
        )
        return Process(file=file, arguments=arguments, **settings)

    def end(self, ref: Ref, seconds: float = 20) -> Exit:
        found = wait_for(lambda: self.cloud.poll([ref])[0], seconds)
        assert found is not None
        return found

    def output(self, handle: Handle, ref: Ref, stream: LogStream = LogStream.STDOUT) -> str:
        return self.cloud.logs(handle, ref, stream, 0, 1 << 20).data.decode()

    def run(self, handle: Handle, code: str, *arguments: str, **more: Any) -> tuple[Exit, str, str]:
        """Run to the end: exit, stdout, stderr."""
        ref = self.cloud.start(handle, self.process(code, *arguments, **more))
        exit = self.end(ref)
        return exit, self.output(handle, ref), self.output(handle, ref, LogStream.STDERR)

    def cluster_of(self, handle: Handle) -> str:
        return str(handle["steps"]["directory"]["id"]).rpartition("/")[2]

    def change_node(self, handle: Handle, **settings: Any) -> None:
        """Let the first machine be another from the next start on."""
        node = self.cloud.root / handle["steps"]["node-0"]["id"] / "node.json"
        node.write_text(json.dumps({**json.loads(node.read_text()), **settings}))

    def agent(self, handle: Handle, index: int = 0) -> int:
        path = self.cloud.root / handle["steps"][f"node-{index}"]["id"] / "agent.json"
        return int(json.loads(path.read_text())["pid"])


def healths(world: World, handle: Handle) -> list[Health]:
    """How the nodes of a cluster look."""
    return [node.health for node in world.cloud.observe_clusters([handle])[0].nodes]


RELEASE = "2026.10"


def make_release(releases: Path) -> Path:
    """A virtual environment without Bodo, with an ``mpiexec`` and an mpi4py that behave like the real ones, in the
    place of the newest release."""
    directory = Releases(releases, sys.executable).path(RELEASE)
    fill_release(directory)
    return directory


def fill_release(directory: Path) -> None:
    """Make one in a directory."""
    venv.EnvBuilder(symlinks=True).create(directory)
    for name, text in (("mpiexec", MPIEXEC), ("hydra_pmi_proxy", PROXY)):
        program = directory / "bin" / name
        program.write_text(text.format(python=directory / "bin" / "python"))
        program.chmod(0o755)
    module = next(directory.glob("lib/python*/site-packages")) / "mpi4py" / "__main__.py"
    module.parent.mkdir()
    module.write_text("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")
    write_whole_lines(directory)
    (directory / ".complete").touch()
