"""A run cannot fill the disk: what stays free, who has to end for it, and how long a log may become."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import Exit, ExitReason, Handle, LaunchMode, LogStream, Ref
from portal.clouds.local import kernel, launch, limits, processes
from portal.clouds.local.launch import Limits
from portal.clouds.local.supervisor import Supervisor
from tests.clouds.local_world import World, jobs_of, wait_for
from tests.clouds.small_disk import UNSHARE

Running = tuple[World, Handle]
Refused = Callable[[str], Any]

MB = 1 << 20

WRITER = """
import os, sys, time
while True:
    with open("filling", "ab", 0) as file:
        file.write(bytes(1 << 20))
    time.sleep(0.01)
"""

QUIET = """
import os, time
while not os.path.exists("go"):
    open("a little", "a").write("x")
    time.sleep(0.01)
"""


def free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


@pytest.fixture
def low(running: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let the disk be low for all runs that are started: ``reserve`` is that of what is free. The start itself would
    refuse; here it does not look."""
    world, _ = running

    def set_reserve(reserve: float) -> None:
        world.cloud.limits = Limits(disk_reserve=int(free(world.bodofs) * reserve))
        monkeypatch.setattr(launch, "_check_room", lambda *_: None)

    return set_reserve


def test_who_fills_the_disk_is_ended_and_who_does_not_goes_on(running: Running, low: Callable[[float], None]) -> None:
    world, handle = running
    before = kernel.written([os.getpid()])
    (world.bodofs / "probe").write_bytes(bytes(MB))
    if kernel.written([os.getpid()]) < before + MB:
        pytest.skip("what is written to this filesystem goes to no disk")
    low(1.5)
    quiet = world.cloud.start(handle, world.process(QUIET))
    exit, _, stderr = world.run(handle, WRITER)
    assert (exit.reason, exit.signal) == (ExitReason.DISK_FULL, 9)
    assert exit.detail.startswith("The disk of the machine was nearly full, and the run went on writing.")
    assert stderr == f"[portal] {exit.detail}\n"
    assert (world.bodofs / "filling").stat().st_size < 2048 * MB
    assert world.cloud.poll([quiet]) == [None]
    (world.bodofs / "go").touch()
    assert world.end(quiet).code == 0


def test_the_last_room_is_nobodys(running: Running, low: Callable[[float], None]) -> None:
    world, handle = running
    low(4)
    exit, _, _ = world.run(handle, QUIET)
    assert exit.reason is ExitReason.DISK_FULL
    assert jobs_of(world) == []


def test_a_program_that_fails_on_a_full_disk_failed_for_it(tmp_path: Path) -> None:
    """It fills the disk and fails between two looks."""
    run = {"mode": "spawn", "workers": 1, "writable": [str(tmp_path)], "log_limit": MB, "disk_reserve": 0}
    ends = []
    for reserve, status in ((0, 256), (free(tmp_path) * 4, 256), (free(tmp_path) * 4, 0)):
        watcher = Supervisor({**run, "disk_reserve": reserve}, tmp_path, os.getppid())
        watcher.ended[watcher.job] = status
        ends.append(watcher.own_end([]))
    assert [(end.reason, end.code) for end in ends] == [("EXITED", 1), ("DISK_FULL", 1), ("EXITED", 0)]
    assert ends[1].detail == "The program ended with code 1. The disk of the machine is full."


def test_nothing_is_started_on_a_disk_that_is_low(running: Running, refused: Refused) -> None:
    world, handle = running
    process = world.process("pass")
    world.cloud.limits = Limits(disk_reserve=free(world.bodofs) * 2)
    with refused("DiskFull") as caught:
        world.cloud.start(handle, process)
    assert not caught.value.permanent, "there may be room later"
    assert world.cloud.find(handle, process.id) is None
    world.cloud.limits = Limits(disk_reserve=0)
    assert world.end(world.cloud.start(handle, process)).code == 0


def test_shortage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(size: int, available: int, files: int = 0, more_files: int = 0) -> None:
        values = (1, 1 << 20, size, available, available, files, more_files, more_files, 0, 255)
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))

    disk(size=100 << 10, available=512)
    assert limits.shortage(tmp_path, None) == 0.5, "1 GiB of a large disk"
    assert limits.shortage(tmp_path, 256 * MB) == 0.0
    assert limits.shortage(tmp_path, 0) == 0.0
    disk(size=2000, available=75)
    assert limits.shortage(tmp_path, None) == 0.25, "5 % of a small one"
    disk(size=100 << 10, available=50 << 10, files=10**6, more_files=100)
    assert limits.shortage(tmp_path, None) == 0.9, "no room for files"


SHOUT = """
import os, sys, time
line = b"x" * 1023 + b"\\n"
for _ in range(int(sys.argv[1])):
    os.write(1, line * 1024)
    time.sleep(0.002)
while not os.path.exists("go"): time.sleep(0.01)
os.write(1, b"the very end\\n")
"""


def disk_use(world: World, ref: Ref) -> int:
    return os.stat(world.cloud.root / str(ref["run"]) / "stdout.log").st_blocks * 512


@pytest.mark.parametrize("mode", list(LaunchMode))
def test_an_endless_log_keeps_its_beginning_and_its_end(running: Running, mode: LaunchMode) -> None:
    world, handle = running
    world.cloud.limits = Limits(log=3 * MB)
    ref = world.cloud.start(handle, world.process(SHOUT, "100", mode=mode))
    size = world.cloud.root / str(ref["run"]) / "stdout.log.cut"
    wait_for(size.exists)
    chunk = world.cloud.logs(handle, ref, LogStream.STDOUT, -200, 200)
    assert chunk.size < 4 * MB
    assert b"[portal] This log has reached its limit of 3 MB." in chunk.data
    wait_for(lambda: disk_use(world, ref) < 8 * MB)
    (world.bodofs / "go").touch()
    exit: Exit = world.end(ref)
    assert (exit.reason, exit.code, exit.detail) == (ExitReason.EXITED, 0, "")
    log = (world.cloud.root / str(ref["run"]) / "stdout.log").read_bytes()
    lines = log.splitlines()
    assert len(log) < 3 * MB + limits.TAIL + 1000
    first, second, last = [line.decode() for line in lines if len(line) != 1023]
    assert first.startswith("[portal] This log has reached its limit of 3 MB. What follows is left out;")
    assert second == "[portal] Here something was left out. This is the end:"
    assert last == "the very end"
    assert b"\0" not in log
    assert world.cloud.logs(handle, ref, LogStream.STDOUT, -1, 1).size == len(log)


def test_a_log_without_lines_is_cut_too(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    log.write_bytes(b"x" * 5 * MB)
    cap = limits.LogCap(log, MB)
    cap.look()
    cap.finish()
    assert log.read_bytes().startswith(b"x" * MB + b"\n[portal] This log")
    assert log.read_bytes().endswith(b"This is the end:\n" + b"x" * limits.TAIL)


def test_readers_see_a_log_end_where_it_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    log.write_bytes(b"line\n" * MB)
    limits.LogCap(log, MB).look()
    cut = processes.log(tmp_path, LogStream.STDOUT, -1, 10)
    assert cut.data == b"\n"
    with open(log, "ab") as file:
        file.write(b"more\n")
    assert processes.log(tmp_path, LogStream.STDOUT, -1, 10) == cut


def test_a_writer_that_does_not_append_leaves_no_hole(tmp_path: Path) -> None:
    """As Hydra does: it goes on where it was before the log was cut."""
    log = tmp_path / "stdout.log"
    log.write_bytes(b"line\n" * MB)
    cap = limits.LogCap(log, MB)
    cap.look()
    with open(log, "r+b") as file:
        file.seek(100 * MB)
        file.write(b"the end\n")
    cap.finish()
    assert log.read_bytes().endswith(b"line\nthe end\n")
    assert b"\0" not in log.read_bytes()


def test_a_log_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    cap = limits.LogCap(log, MB)
    cap.look()
    log.write_bytes(b"x" * MB)
    cap.look()
    cap.finish()
    assert log.read_bytes() == b"x" * MB
    assert os.listdir(tmp_path) == ["stdout.log"]


def test_a_disk_that_is_really_full(machine_root: Path, tmp_path: Path) -> None:
    """Not a byte is free when the run is ended, and how it ended can be said all the same."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this account may not mount a disk of its own here")
    command = [*UNSHARE, sys.executable, "-m", "tests.clouds.small_disk", str(disk), str(machine_root / "releases")]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    assert found["reason"] == "DISK_FULL"
    assert found["detail"].startswith("The disk of the machine was nearly full, and the run went on writing.")
    assert (found["free"], found["left"], found["after"]) == (0, [], "1\n")
