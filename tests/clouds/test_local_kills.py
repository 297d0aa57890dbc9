"""The agent and the supervisor of a run are killed at everything that they do for it: the program is executed once at
most, the run has an end, and nothing is left."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.clouds.base import CloudError, ExitReason, Handle, Ref
from tests.clouds.local_world import World, jobs_of, processes_of, wait_for
from tests.clouds.test_local_endings import sleepers

Running = tuple[World, Handle]

DYING = """#!{python} -IS
import json, os, runpy, signal, sys, time
FUSE = {fuse!r}
FILES = {{"os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "os.utime"}}
OTHERS = {{"os.fork", "os.kill", "os.exec"}}
depth = count = 0
def deeper():
    global depth, count
    depth, count = depth + 1, 0
    end, parent = time.monotonic() + 0.1, os.getppid()
    while depth > 1 and os.path.exists(FUSE) and time.monotonic() < end and os.getppid() == parent: time.sleep(0.005)
def effect(name):
    global count
    try:
        with open(FUSE) as file: who, n = json.load(file)
    except OSError: return
    if who == depth:
        count += 1
        if n in (count, name):
            os.rename(FUSE, FUSE + ".blown")
            os.kill(os.getpid(), 9)
def audit(event, arguments):
    if event in FILES or event == "open":
        path = str(arguments[0])
        if "/runs/" in path and (event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_CREAT)):
            effect(event)
    elif event in OTHERS:
        effect(event)
os.register_at_fork(after_in_child=deeper, after_in_parent=lambda: effect("forked"))
sys.addaudithook(audit)
sys.argv = [each for each in sys.argv[1:] if each not in ("-I", "-S")]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""In the place of the agent's Python. The file FUSE says who dies, and at which of its effects, by number or name: an
agent is the first fork, a supervisor the second, what becomes the job's program the third. Each waits a moment before
it goes on, so that its parent can die first."""

WHO = {"agent": (1, 6), "supervisor": (2, 14), "program": (3, 2)}
"""Which fork it is, and how many deaths there are for it to die at least."""

PROGRAM = "import os\nopen('executed-' + os.environ['PORTAL_RUN'], 'a').write('x')"


@pytest.fixture
def fuse(world: World, tmp_path: Path) -> Path:
    """Which says nothing yet."""
    path, python = tmp_path / "fuse", tmp_path / "python"
    python.write_text(DYING.format(python=sys.executable, fuse=str(path)))
    python.chmod(0o755)
    world.cloud.python = str(python)
    return path


@pytest.mark.parametrize("who", list(WHO))
def test_whoever_dies_wherever_nothing_is_done_twice_and_nothing_is_left(world: World, fuse: Path, who: str) -> None:
    spec = world.spec()
    handle = world.go(spec)
    depth, deaths = WHO[who]
    seen = set()
    for n in itertools.count(1):
        process = world.process(PROGRAM)
        fuse.write_text(json.dumps([depth, n]))
        try:
            ref = world.cloud.start(handle, process)
        except CloudError:
            assert fuse.with_name("fuse.blown").exists(), "only a death is a reason"
            assert world.cloud.find(handle, process.id) is None
            reason = None
        else:
            reason = world.end(ref).reason
        executed = world.bodofs / f"executed-{process.id}"
        times = len(executed.read_text()) if executed.exists() else 0
        assert times <= (reason is not None)
        assert times or reason is not ExitReason.EXITED
        wait_for(lambda: jobs_of(world) == [])
        seen.add(reason)
        fuse.unlink(missing_ok=True)
        if not fuse.with_name("fuse.blown").exists():
            break
        fuse.with_name("fuse.blown").unlink()
        if who == "agent":
            wait_for(lambda: processes_of(world.clusters) == [])
            world.go(spec, handle=handle)  # "ready" is what its ledger says
            handle = world.go(world.spec(id=spec.id, generation=n + 1), handle=handle)
        assert world.run(handle, "print(1)")[1] == "1\n", "the machine goes on"
    assert n > deaths


@pytest.mark.parametrize("who", ["agent", "supervisor"])
def test_nothing_is_executed_for_one_who_died_after_its_fork(world: World, fuse: Path, who: str) -> None:
    """The fork had not yet asked the kernel to be told of its parent's death."""
    handle = world.go(world.spec())
    process = world.process(f"{PROGRAM}\nimport time\ntime.sleep(60)")
    fuse.write_text(json.dumps([WHO[who][0], "forked"]))
    assert world.end(world.cloud.start(handle, process)).reason is ExitReason.LOST
    wait_for(lambda: jobs_of(world) == [])
    assert not (world.bodofs / f"executed-{process.id}").exists()


DAEMON = """
import os, resource, sys, time
if "lower" in sys.argv: resource.setrlimit(10, (1, 1))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
    os._exit(0)
os.wait()
print("going", flush=True)
time.sleep(600)
"""


@pytest.fixture
def unseen(running: Running) -> Iterator[Callable[..., tuple[Ref, str]]]:
    """A run whose daemon has no environment, no file and no session of the run, and was seen by nobody."""
    world, handle = running

    def make(*arguments: str) -> tuple[Ref, str]:
        seconds = f"{time.time_ns() % 10**9 + 10**9}"
        ref = world.cloud.start(handle, world.process(DAEMON, seconds, *arguments))
        wait_for(lambda: "going" in world.output(handle, ref) and sleepers(seconds))
        for pid in processes_of(world.clusters):
            if pid not in jobs_of(world):
                os.kill(pid, signal.SIGSTOP)
        (world.cloud.root / str(ref["run"]) / "tree.json").unlink(missing_ok=True)
        made.append(seconds)
        return ref, seconds

    made: list[str] = []
    yield make
    for pid in [pid for seconds in made for pid in sleepers(seconds)]:
        os.kill(int(pid), signal.SIGKILL)


def test_a_daemon_without_marks_does_not_outlive_its_whole_machine(
    running: Running, unseen: Callable[..., tuple[Ref, str]]
) -> None:
    world, _ = running
    ref, seconds = unseen()
    for pid in processes_of(world.clusters):
        if pid not in jobs_of(world):
            os.kill(pid, signal.SIGKILL)
    exit = world.end(ref)
    assert (exit.reason, exit.detail) == (ExitReason.LOST, "The machine that it ran on went away.")
    assert sleepers(seconds) == []


def test_a_daemon_that_takes_off_all_marks_does_not_outlive_its_supervisor(
    running: Running, unseen: Callable[..., tuple[Ref, str]]
) -> None:
    world, handle = running
    ref, seconds = unseen("lower")
    agent = world.agent(handle)
    (supervisor,) = [pid for pid in processes_of(world.clusters) if pid not in [agent, *jobs_of(world)]]
    os.kill(supervisor, signal.SIGKILL)
    os.kill(agent, signal.SIGCONT)
    exit = world.end(ref)
    assert exit.reason is ExitReason.LOST
    assert exit.detail == "The process that watched it on its machine was killed, and the run with it."
    assert sleepers(seconds) == []
    assert world.run(handle, "print(1)")[1] == "1\n"
