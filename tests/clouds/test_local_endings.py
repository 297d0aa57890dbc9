"""How each way to end is told from the others, and said in a sentence."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from portal.clouds.base import ExitReason, Handle, LaunchMode, LogStream
from portal.clouds.local import endings
from portal.clouds.local.endings import Ending
from tests.clouds.local_world import World, jobs_of, wait_for

Running = tuple[World, Handle]

KILLED = (
    b"\n====\n=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID 10994 RUNNING AT vm\n=   EXIT CODE: 9\n"
    b"=   CLEANING UP REMAINING PROCESSES\n====\n[mpiexec@vm] Exit codes: [vm] 0,9\n"
    b"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)\n"
)
"""What MPICH 5.0.2 prints when the second of two ranks is killed."""

ABORT = b"Abort(4) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 4) - process 1\n"
SEGMENT = "signal 11 (SIGSEGV: Segmentation fault)"
CRASHED = "crashed or was killed, and the program with it."
KILL = "signal 9 (SIGKILL: Killed)"


@pytest.mark.parametrize(
    ("code", "launcher", "stderr", "expected"),
    [
        (9, KILLED, b"", Ending("RANK_FAILED", f"Rank 1 of 2 was ended by {KILL}.", signal=9)),
        (9, b"[mpiexec@vm] Exit codes: [vm] 0,2304\n", b"", Ending("RANK_FAILED", "Rank 1 of 2 ended with code 9.", 9)),
        (
            7,
            b"[mpiexec@vm] Exit codes: [vm] 768,1280\n",
            b"",
            Ending("RANK_FAILED", "Rank 0 of 2 ended with code 3, rank 1 ended with code 5.", 3),
        ),
        (
            11,
            b"[mpiexec@vm] Exit codes: [vm] 0,11,256,256,256\n",
            b"",
            Ending(
                "RANK_FAILED",
                f"Rank 1 of 5 was ended by {SEGMENT}, rank 2 ended with code 1, rank 3 ended with code 1, "
                "and 1 more failed.",
                signal=11,
            ),
        ),
        (
            1,
            b"[mpiexec@vm] Exit codes: [vm] 256,256\n",
            b"",
            Ending("EXITED", "Each of the 2 ranks ended with code 1.", 1),
        ),
        (3, b"[mpiexec@vm] Exit codes: [vm] 768\n", b"", Ending("EXITED", "The program ended with code 3.", 3)),
        (0, b"[mpiexec@vm] Exit codes: [vm] 0,0\n", b"", Ending("EXITED", "", 0)),
        (4, b"", ABORT, Ending("RANK_FAILED", "Rank 1 ended all ranks with code 4.", 4)),
        (255, b"", b"no such file", Ending("EXITED", "The program ended with code 255.", 255)),
    ],
)
def test_the_ends_of_ranks(code: int, launcher: bytes, stderr: bytes, expected: Ending) -> None:
    assert endings.of_ranks(code << 8, launcher, stderr) == expected


@pytest.mark.parametrize(
    ("status", "gone", "expected"),
    [
        (0, [0, 1], Ending("EXITED", "", 0)),
        (256, [1], Ending("EXITED", "The program ended with code 1.", 1)),
        (9, [], Ending("SIGNALLED", f"The program was ended by {KILL}.", signal=9)),
        (11, [1], Ending("SIGNALLED", f"The program was ended by {SEGMENT}.", signal=11)),
        (9, [1], Ending("RANK_FAILED", "Rank 1 of 2 crashed or was killed, and the program with it.", signal=9)),
        (
            9,
            [0, 1],
            Ending("RANK_FAILED", "One of the 2 ranks crashed or was killed, and the program with it.", signal=9),
        ),
        (None, [], Ending("LOST", "The program went away.")),
    ],
)
def test_the_ends_of_programs_that_start_their_ranks(status: int | None, gone: list[int], expected: Ending) -> None:
    assert endings.of_spawner(status, gone, 2) == expected


def test_what_the_kernel_killed_for_want_of_memory_is_told_from_what_others_killed() -> None:
    def said(ending: Ending) -> tuple[str, str]:
        return ending.reason, ending.detail

    begin = "The machine ran out of memory, and its kernel killed"
    assert said(endings.of_program(9, out_of_memory=True)) == ("OUT_OF_MEMORY", f"{begin} the program.")
    assert endings.of_program(11, out_of_memory=True).reason == "SIGNALLED"
    assert endings.of_program(256, out_of_memory=True).reason == "EXITED"
    assert said(endings.of_ranks(9 << 8, KILLED, b"", out_of_memory=True)) == ("OUT_OF_MEMORY", f"{begin} rank 1.")
    assert said(endings.of_spawner(9, [1], 2, out_of_memory=True)) == ("OUT_OF_MEMORY", f"{begin} rank 1 of 2.")


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 second"), (45, "45 seconds"), (60, "1 minute"), (5400, "90 minutes")]
)
def test_times_are_said(seconds: float, said: str) -> None:
    assert endings.duration(seconds) == said


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "number", "detail"),
    [
        ("pass", ExitReason.EXITED, 0, None, ""),
        ("raise SystemExit(3)", ExitReason.EXITED, 3, None, "The program ended with code 3."),
        ("1/0", ExitReason.EXITED, 1, None, "The program ended with code 1."),
        ("import os; os.kill(os.getpid(), 11)", ExitReason.SIGNALLED, None, 11, f"The program was ended by {SEGMENT}."),
        ("import os; os.kill(os.getpid(), 9)", ExitReason.SIGNALLED, None, 9, f"The program was ended by {KILL}."),
    ],
)
def test_a_process(
    running: Running, code: str, reason: ExitReason, exit_code: int | None, number: int | None, detail: str
) -> None:
    world, handle = running
    exit, _, stderr = world.run(handle, code)
    assert (exit.reason, exit.code, exit.signal, exit.detail) == (reason, exit_code, number, detail)
    assert stderr.endswith(f"[portal] {detail}\n") == (reason is ExitReason.SIGNALLED), "what it cannot know itself"


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "number", "detail"),
    [
        ("", ExitReason.EXITED, 0, None, ""),
        ("sys.exit(3)", ExitReason.EXITED, 3, None, "Each of the 2 ranks ended with code 3."),
        ("sys.exit(9 * rank)", ExitReason.RANK_FAILED, 9, None, "Rank 1 of 2 ended with code 9."),
        ("if rank: os.kill(os.getpid(), 9)", ExitReason.RANK_FAILED, None, 9, f"Rank 1 of 2 was ended by {KILL}."),
    ],
)
def test_ranks(
    running: Running, code: str, reason: ExitReason, exit_code: int | None, number: int | None, detail: str
) -> None:
    world, handle = running
    code = f"import os, sys\nrank = int(os.environ['PMI_RANK'])\nprint(rank)\n{code}"
    exit, stdout, _ = world.run(handle, code, mode=LaunchMode.SPMD, workers=2)
    assert (exit.reason, exit.code, exit.signal, exit.detail) == (reason, exit_code, number, detail)
    assert set(stdout) <= {"\n", "0", "1"}, "the launcher's own words are not in the log"


def test_memory(running: Running) -> None:
    world, handle = running
    world.change_node(handle, memory=100)
    exit, _, stderr = world.run(handle, "import time\nkept = bytearray(b'1') * (200 << 20)\ntime.sleep(60)")
    assert exit.reason is ExitReason.OUT_OF_MEMORY
    assert re.fullmatch(r"Its processes took [12]\d\d MiB of memory together; the cluster has 100 MiB\.", exit.detail)
    assert stderr == f"[portal] {exit.detail}\n"


def test_force_is_said(running: Running) -> None:
    world, handle = running
    code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)"
    exit, _, stderr = world.run(handle, code, timeout=0.1)
    assert exit.reason is ExitReason.TIMEOUT
    assert exit.signal == signal.SIGKILL
    assert exit.detail == "It took longer than 0.1 seconds. It did not end when asked to, and was killed."
    assert stderr == f"[portal] {exit.detail}\n"
    exit, _, _ = world.run(handle, "import time\ntime.sleep(60)", timeout=0.1)
    assert exit.detail == "It took longer than 0.1 seconds."


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
    os._exit(0)
os.wait()
"""


def sleepers(seconds: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if command == b"sleep\0" + seconds.encode() + b"\0":
                found.append(name)
    return found


def test_daemons_without_any_mark_end_with_their_run_and_are_said(running: Running) -> None:
    """Two sessions away, with another program and an empty environment."""
    world, handle = running
    seconds = f"{time.time_ns() % 10**9 + 10**9}"
    ref = world.cloud.start(handle, world.process(ESCAPE, seconds))
    wait_for(lambda: sleepers(seconds))
    exit = world.end(ref)
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 0)
    assert exit.detail == "1 process that it left in the background had to be ended."
    assert world.output(handle, ref, LogStream.STDERR) == f"[portal] {exit.detail}\n"
    assert sleepers(seconds) == []


def test_what_a_rank_leaves_behind_does_not_keep_its_launcher(running: Running) -> None:
    """It holds the rank's output open, which mpiexec waits for."""
    world, handle = running
    code = "import os, time\ntime.sleep(0.2)\nif os.fork() == 0:\n    os.setsid(); time.sleep(600)\n"
    exit, _, _ = world.run(handle, code, mode=LaunchMode.SPMD, workers=2)
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 0)
    assert exit.detail == "2 processes that it left in the background had to be ended."
    assert jobs_of(world) == []


def test_a_run_leaves_neither_its_code_nor_its_temporary_files(running: Running, tmp_path: Path) -> None:
    world, handle = running
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    code = (
        "import os, tempfile\nprint(tempfile.mkdtemp())\nos.symlink(os.environ['PORTAL_BODOFS'], 'link')\n"
        "open(os.path.join(os.environ['PORTAL_BODOFS'], 'kept'), 'w').close()\nos.mkdir('closed', 0)\n"
    )
    ref = world.cloud.start(handle, world.process(code, bundle=str(bundle)))
    assert world.end(ref).code == 0
    temporary = Path(world.output(handle, ref).strip()).parent
    assert temporary.parent.name == "tmp"
    wait_for(lambda: not temporary.exists())
    run = world.cloud.root / str(ref["run"])
    wait_for(lambda: not (run / "bundle").exists())
    assert (world.bodofs / "kept").exists()


def test_ranks_of_several_machines_are_told_apart() -> None:
    """Word for word what Hydra 5.0.2 prints for two hosts, the second with two ranks."""
    said = b"[mpiexec@vm] Exit codes: [localhost] 0\n[127.0.0.1] 0,1280\n"
    ending = endings.of_ranks(5 << 8, said, b"")
    assert (ending.reason, ending.code, ending.detail) == ("RANK_FAILED", 5, "Rank 2 of 3 ended with code 5.")
