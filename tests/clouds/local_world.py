"""A LOCAL cloud with a light stand-in for a Bodo release, so that real processes run in milliseconds."""

from __future__ import annotations

import json
import os
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
from portal.clouds.local.provider import LocalCloud

CAPACITY = 4
"""Cores of the test's machine, whatever the real one has."""

MPIEXEC = """#!{python}
import os, subprocess, sys
arguments = sys.argv[1:]
count = int(arguments[arguments.index("-n") + 1])
program = arguments[arguments.index("-n") + 2:]
ranks = [subprocess.Popen(program, start_new_session=True, env={{**os.environ, "PMI_RANK": str(rank)}})
         for rank in range(count)]
codes = [rank.wait() for rank in ranks]
for code in codes:
    if code < 0:
        print("YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal %d)" % -code, flush=True)
        sys.exit(9)
sys.exit(max(codes))
"""


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
        more = {"release": "2026.10", "id": str(uuid.uuid4()), **more}
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

    def agent(self, handle: Handle, index: int = 0) -> int:
        path = self.cloud.root / handle["steps"][f"node-{index}"]["id"] / "agent.json"
        return int(json.loads(path.read_text())["pid"])


def healths(world: World, handle: Handle) -> list[Health]:
    """How the nodes of a cluster look."""
    return [node.health for node in world.cloud.observe_clusters([handle])[0].nodes]


def make_release(directory: Path) -> None:
    """A virtual environment without Bodo, and with an ``mpiexec`` that behaves like the real one."""
    venv.EnvBuilder(symlinks=True).create(directory)
    mpiexec = directory / "bin" / "mpiexec"
    mpiexec.write_text(MPIEXEC.format(python=directory / "bin" / "python"))
    mpiexec.chmod(0o755)
    (directory / ".complete").touch()
