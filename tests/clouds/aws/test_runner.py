"""The runner on a machine, run for real: what becomes of a job, told by the mailbox in the bucket."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.clouds.base import ExitReason, LaunchMode, LogStream
from tests.clouds.aws.cloud import Aws
from tests.clouds.aws.jobs_world import JobsWorld, new_jobs_world
from tests.clouds.local_world import fill_release, wait_for

WAIT = "import time\nprint('going', flush=True)\nwhile True: time.sleep(1)"


@pytest.fixture(scope="module")
def world(moto: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsWorld]:
    """One cluster for all: moto takes ten seconds to make a machine, and runs do not see each other."""
    root = tmp_path_factory.mktemp("cluster")
    fill_release(root / "release")
    with pytest.MonkeyPatch.context() as patch:
        moto.identify(patch)
        moto.reset()
        world = new_jobs_world(moto, root, root / "release")
        yield world
        world.kill()


def test_a_job_runs_in_the_shared_filesystem_with_its_arguments(world: JobsWorld) -> None:
    code = "import os, sys; print(os.getcwd(), sys.argv[1:], os.environ['OWN']); print('wrong', file=sys.stderr)"
    exit, stdout, stderr = world.run(code, "a b", "--c", environment={"OWN": "1"})
    assert (exit.reason, exit.code, exit.signal) == (ExitReason.EXITED, 0, None)
    assert exit.started is not None
    assert 0 <= (exit.ended - exit.started).total_seconds() < 10
    assert stdout == f"{world.bodofs} ['a b', '--c'] 1\n"
    assert stderr == "wrong\n"


def test_both_launch_modes_tell_bodo_what_to_do(world: JobsWorld) -> None:
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith('BODO')))"
    assert world.run(code, workers=3)[1] == "[('BODO_NUM_WORKERS', '3')]\n"
    assert world.run(code, mode=LaunchMode.SPMD, workers=2)[1] == "[('BODO_SPAWN_MODE', '0')]\n" * 2


@pytest.mark.parametrize(
    ("code", "mode", "reason", "number", "signalled"),
    [
        ("import sys; sys.exit(3)", LaunchMode.SPAWN, ExitReason.EXITED, 3, None),
        ("import os; os.kill(os.getpid(), 11)", LaunchMode.SPAWN, ExitReason.SIGNALLED, None, 11),
        ("import os, sys; sys.exit(4 * int(os.environ['PMI_RANK']))", LaunchMode.SPMD, ExitReason.RANK_FAILED, 4, None),
        ("open('not there')", LaunchMode.SPAWN, ExitReason.EXITED, 1, None),
    ],
)
def test_how_a_job_ends_by_itself(
    world: JobsWorld, code: str, mode: LaunchMode, reason: ExitReason, number: int | None, signalled: int | None
) -> None:
    exit = world.run(code, mode=mode, workers=2)[0]
    assert (exit.reason, exit.code, exit.signal) == (reason, number, signalled)


@pytest.mark.parametrize("mode", list(LaunchMode))
def test_the_machine_keeps_the_timeout(world: JobsWorld, mode: LaunchMode) -> None:
    ref = world.going(WAIT, mode=mode, workers=2, timeout=1)
    exit = world.end(ref)
    assert (exit.reason, exit.detail) == (ExitReason.TIMEOUT, "It took longer than 1 second.")
    assert world.head.processes(ref["run"]) == []


def test_a_cancelled_job_leaves_nothing_though_it_ignores_being_asked(world: JobsWorld) -> None:
    ref = world.going(
        "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "if os.fork() == 0: os.setsid()\nprint('going', flush=True)\nwhile True: time.sleep(1)"
    )
    assert len(world.head.processes(ref["run"])) == 2
    world.cloud.stop(world.handle, ref)
    world.cloud.stop(world.handle, ref)
    exit = world.end(ref)
    assert exit.reason is ExitReason.CANCELLED
    assert "It did not end when asked to" in exit.detail
    assert world.head.processes(ref["run"]) == []
    assert world.commands.count(f"cancel {ref['run']}") == 1
    world.cloud.stop(world.handle, ref)
    assert world.end(ref) == exit


def test_a_request_to_cancel_in_the_mailbox_is_enough(world: JobsWorld) -> None:
    with world.head.changed(cancel_seconds=0.5):
        ref = world.going(WAIT)
    world.deaf = True
    world.cloud.stop(world.handle, ref)
    world.deaf = False
    assert world.end(ref).reason is ExitReason.CANCELLED


def test_a_file_that_is_not_there_is_the_jobs_failure(world: JobsWorld) -> None:
    process = world.process("")
    (world.bodofs / process.file).unlink()
    ref = world.cloud.start(world.handle, process)
    exit = world.end(ref)
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 2)
    assert "No such file" in world.output(ref, LogStream.STDERR)


def test_what_cannot_be_started_says_why(world: JobsWorld) -> None:
    with world.head.changed(release_python="/nowhere/bin/python"):
        exit, _, stderr = world.run("")
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 127)
    assert exit.detail == "It could not be started: No such file or directory: /nowhere/bin/python."
    assert stderr == f"[portal] {exit.detail}\n"


def test_a_job_is_lost_with_whoever_watches_it_and_leaves_nothing(world: JobsWorld) -> None:
    ref = world.going("import os\nif os.fork() == 0: os.setsid()\n" + WAIT)
    os.kill(world.head.watcher(ref["run"]), signal.SIGKILL)
    wait_for(lambda: world.head.processes(ref["run"]) == [])  # by itself, whoever asks
    assert world.cloud.poll([ref]) == [None]
    assert world.head.run("bury")[0] == 0  # as at each boot
    exit = world.end(ref)
    assert exit.reason is ExitReason.LOST
    assert exit.started is not None
    assert "going" in world.output(ref), "what it wrote before is kept"
    assert world.head.run(f"bury {ref['run']}")[0] == 0
    assert world.end(ref) == exit


def test_a_job_whose_whole_machine_died_at_once_is_buried_with_its_strays(world: JobsWorld) -> None:
    """Daemon and supervisor die in the same instant; what they watched may live on, until somebody looks."""
    ref = world.going("import os\nif os.fork() == 0: os.setsid()\n" + WAIT)
    watcher = world.head.watcher(ref["run"])
    [supervisor] = [int(pid) for pid in Path(f"/proc/{watcher}/task/{watcher}/children").read_text().split()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (watcher, supervisor):
            os.kill(pid, number)
    world.head.run(f"cancel {ref['run']}")
    assert world.end(ref).reason is ExitReason.LOST
    assert world.head.processes(ref["run"]) == []


def test_burying_leaves_alone_what_is_watched_and_what_began_elsewhere(world: JobsWorld) -> None:
    ref = world.going(WAIT)
    other = world.head.root / "runs" / "another-run"
    other.mkdir()
    (other / "claim-1").touch()
    assert world.head.run("bury") == (0, "")
    assert world.head.run(f"bury {ref['run']}") == (0, "")
    assert world.cloud.poll([ref]) == [None]
    assert not [key for key in world.objects() if "another-run" in key]
    world.cloud.stop(world.handle, ref)
    assert world.end(ref).reason is ExitReason.CANCELLED


def test_a_second_start_on_the_machine_does_nothing(world: JobsWorld) -> None:
    ref = world.going(WAIT)
    assert world.head.run(f"start {ref['run']} 1") == (0, "")
    (world.head.root / "runs" / ref["run"] / "claim-1").unlink()  # not even where its own memory fails it
    watcher = world.head.watcher(ref["run"])
    other = world.head.root / "runs" / ref["run"] / "watcher.json"
    world.head.run(f"start {ref['run']} 1")
    wait_for(lambda: json.loads(other.read_text())["pid"] != watcher)
    assert len(world.head.processes(ref["run"])) == 1
    os.kill(watcher, signal.SIGKILL)


def test_a_log_comes_in_pieces_while_it_grows(world: JobsWorld) -> None:
    code = (
        "import os, time\nprint('going', flush=True)\nwhile not os.path.exists('two'): time.sleep(0.02)\n"
        "print('Two', flush=True)\nwhile not os.path.exists('three'): time.sleep(0.02)\nprint('three')"
    )
    ref = world.going(code)
    wait_for(lambda: world.output(ref) == "going\n")
    (world.bodofs / "two").touch()
    wait_for(lambda: world.output(ref) == "going\nTwo\n")
    (world.bodofs / "three").touch()
    world.end(ref)
    assert world.output(ref) == "going\nTwo\nthree\n"
    assert sorted(name for name in world.objects(ref) if name.startswith("stdout/")) == [
        f"stdout/{end:020d}" for end in (6, 10, 16)
    ]
    read = world.cloud.logs(world.handle, ref, LogStream.STDOUT, 4, 8)
    assert (read.data, read.offset, read.next_offset, read.size) == (b"g\nTwo\nth", 4, 12, 16)
    assert world.cloud.logs(world.handle, ref, LogStream.STDOUT, -6, 3).data == b"thr"
    assert world.cloud.logs(world.handle, ref, LogStream.STDOUT, 16, 100).data == b""
    assert world.cloud.logs(world.handle, ref, LogStream.STDERR, 0, 100).size == 0
    found = world.cloud.search(world.handle, ref, LogStream.STDOUT, "tWO", 0, 10)
    assert [(line.offset, line.data) for line in found.lines] == [(6, b"Two")]
    assert found.next_offset == found.size == 16
    assert world.objects(ref)["stdout.log"] == b"going\nTwo\nthree\n"


def test_a_log_keeps_to_its_limit(world: JobsWorld) -> None:
    with world.head.changed(log_limit=1 << 20):
        exit, stdout, _ = world.run("for i in range(400_000): print(i)")
    assert exit.code == 0
    assert "reached its limit of 1 MB" in stdout
    assert stdout.endswith("399999\n")
    assert len(stdout) < 1.2 * (1 << 20)


def test_what_a_job_leaves_in_its_output_is_kept(world: JobsWorld) -> None:
    (world.root / "secret").write_text("not the job's")
    code = f"""
import os
out = os.environ["PORTAL_OUTPUT"]
os.makedirs(f"{{out}}/deep/er")
open(f"{{out}}/deep/er/ä b.txt", "w").write("x")
open(f"{{out}}/.failure", "w").write("why")
open(f"{{out}}/big", "wb").write(bytes(9 << 20))
os.symlink({str(world.root / "secret")!r}, f"{{out}}/link")
os.symlink("/etc", f"{{out}}/folder")
os.mkfifo(f"{{out}}/pipe")
"""
    ref = world.start(code)
    assert world.end(ref).code == 0
    outputs = world.cloud.outputs(ref)
    found = [(entry.path, entry.kind, entry.size) for entry in outputs.list("")]
    assert found == [("deep", "folder", 0), (".failure", "file", 3), ("big", "file", 9 << 20)]
    assert [entry.path for entry in outputs.list("deep/er")] == ["deep/er/ä b.txt"]
    with outputs.open("deep/er/ä b.txt") as file:
        assert file.read() == b"x"
    with outputs.open("big") as file:
        assert file.read(5) == bytes(5)
    assert not (world.head.root / "runs" / ref["run"] / "work").exists()


def test_the_code_of_a_bundle_comes_along(world: JobsWorld, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "package").mkdir(parents=True)
    (bundle / "package" / "module.py").write_text("VALUE = 42")
    (bundle / "leads out").symlink_to("/etc/passwd")
    code = (
        "import os, package.module\nassert os.path.samefile(os.getcwd(), os.environ['PORTAL_BUNDLE'])\n"
        "open('mine', 'w')\nprint(package.module.VALUE)"
    )
    exit, stdout, stderr = world.run(code, bundle=str(bundle))
    assert (exit.code, stdout) == (0, "42\n"), stderr
    assert "leads out" in stderr


def test_a_disk_that_runs_full_ends_the_job(world: JobsWorld) -> None:
    with world.head.changed(disk_reserve=1 << 60):
        exit = world.run(WAIT)[0]
    assert exit.reason is ExitReason.DISK_FULL
