"""Jobs on the LOCAL cloud: how they start, what they see, and how each way to end is told from the others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import ExitReason, Handle, Health, LaunchMode, LogStream, Target
from portal.clouds.local import sandbox
from tests.clouds.local_world import RELEASE, World, healths, jobs_of, processes_of, wait_for

Running = tuple[World, Handle]
Refused = Callable[[str], Any]

needs_landlock = pytest.mark.skipif(sandbox.abi() == 0, reason="this kernel has no Landlock")
needs_scopes = pytest.mark.skipif(sandbox.abi() < 6, reason="this kernel's Landlock cannot scope signals")

DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").write(str(os.getpid()))
        while True: time.sleep(1)
    os._exit(0)
os.wait()
print("going", flush=True)
if "wait" in sys.argv:
    while True: time.sleep(1)
"""


def started(world: World, handle: Handle, code: str, *arguments: str, **more: Any) -> dict[str, Any]:
    """Start, and wait until it says so."""
    ref = world.cloud.start(handle, world.process(code, *arguments, **more))
    wait_for(lambda: "going" in world.output(handle, ref))
    return ref


def test_a_job_runs_in_the_shared_filesystem_with_its_arguments(running: Running) -> None:
    world, handle = running
    code = "import os, sys; print(os.getcwd(), sys.argv[1:]); print('wrong', file=sys.stderr)"
    exit, stdout, stderr = world.run(handle, code, "a b", "--c", environment={"OWN": "1"})
    assert (exit.reason, exit.code, exit.signal) == (ExitReason.EXITED, 0, None)
    assert exit.started is not None
    assert 0 <= (exit.ended - exit.started).total_seconds() < 10
    assert stdout == f"{world.bodofs} ['a b', '--c']\n"
    assert stderr == "wrong\n"


def test_both_launch_modes_tell_bodo_what_to_do(running: Running) -> None:
    world, handle = running
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith('BODO')))"
    assert world.run(handle, code, workers=3)[1] == "[('BODO_NUM_WORKERS', '3')]\n"
    assert world.run(handle, code, mode=LaunchMode.SPMD, workers=2)[1] == "[('BODO_SPAWN_MODE', '0')]\n" * 2


@pytest.mark.parametrize("mode", list(LaunchMode))
def test_a_timeout_ends_everything(running: Running, mode: LaunchMode, monkeypatch: pytest.MonkeyPatch) -> None:
    world, handle = running
    code = "import time\nprint('going', flush=True)\nwhile True: time.sleep(1)"
    ref = started(world, handle, code, mode=mode, workers=2, timeout=1)
    exit = world.end(ref)
    assert exit.reason is ExitReason.TIMEOUT
    assert exit.started is not None
    assert 1 <= (exit.ended - exit.started).total_seconds() < 5
    assert jobs_of(world) == []


def test_a_cancelled_job_leaves_nothing_though_it_ignores_being_asked(running: Running) -> None:
    world, handle = running
    ref = started(world, handle, DAEMON, "wait")
    assert len(jobs_of(world)) == 2
    world.cloud.stop(handle, ref)
    world.cloud.stop(handle, ref)
    assert world.end(ref).reason is ExitReason.CANCELLED
    assert jobs_of(world) == []
    world.cloud.stop(handle, ref)


def test_a_cancelled_job_that_obeys_ends_by_the_signal(running: Running) -> None:
    world, handle = running
    ref = started(world, handle, "import time\nprint('going', flush=True)\ntime.sleep(60)")
    world.cloud.stop(handle, ref)
    exit = world.end(ref)
    assert (exit.reason, exit.signal) == (ExitReason.CANCELLED, 15)


def test_what_a_job_leaves_in_the_background_does_not_outlive_it(running: Running) -> None:
    world, handle = running
    exit, _, _ = world.run(handle, DAEMON)
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 0)
    assert exit.started is not None
    assert (exit.ended - exit.started).total_seconds() < 5
    assert jobs_of(world) == []


def test_memory_that_processes_share_is_counted_once(running: Running) -> None:
    world, handle = running
    world.change_node(handle, memory=300)
    code = "import os, time\nkept = bytearray(b'1') * (150 << 20)\nos.fork() and os.fork()\ntime.sleep(1.5)"
    assert world.run(handle, code)[0].code == 0


def test_a_job_on_a_machine_that_dies_is_lost_and_leaves_nothing(running: Running) -> None:
    world, handle = running
    ref = started(world, handle, DAEMON, "wait")
    os.kill(world.agent(handle), signal.SIGKILL)
    wait_for(lambda: jobs_of(world) == [])  # by itself, whoever asks
    exit = world.end(ref)
    assert (exit.reason, exit.code) == (ExitReason.LOST, None)
    assert exit.started is not None
    wait_for(lambda: processes_of(world.cloud.root) == [])


def test_a_job_whose_whole_machine_dies_at_once_is_lost_and_leaves_nothing(running: Running) -> None:
    """Agent and supervisor die in the same instant, so nobody on the machine can clean up: the portal does."""
    world, handle = running
    ref = started(world, handle, DAEMON, "wait")
    agents = [pid for pid in processes_of(world.cloud.root) if pid not in jobs_of(world)]
    assert len(agents) == 2
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in agents:
            os.kill(pid, number)
    assert world.end(ref).reason is ExitReason.LOST
    assert processes_of(world.cloud.root) == []


def test_deleting_a_machine_that_died_at_once_leaves_nothing(world: World) -> None:
    """Nobody asked for its jobs' ends before."""
    spec = world.spec()
    handle = world.go(spec)
    started(world, handle, DAEMON, "wait")
    agents = [pid for pid in processes_of(world.cloud.root) if pid not in jobs_of(world)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in agents:
            os.kill(pid, number)
    wait_for(lambda: healths(world, handle) == [Health.LOST])
    assert jobs_of(world)
    world.go(spec, Target.TERMINATED, handle)
    assert processes_of(world.cloud.root) == []


def test_a_job_whose_supervisor_is_killed_is_lost_and_the_machine_goes_on(running: Running) -> None:
    world, handle = running
    ref = started(world, handle, DAEMON, "wait")
    agent = world.agent(handle)
    supervisors = [pid for pid in processes_of(world.cloud.root) if pid not in [agent, *jobs_of(world)]]
    os.kill(supervisors[0], signal.SIGKILL)
    assert world.end(ref).reason is ExitReason.LOST
    wait_for(lambda: processes_of(world.cloud.root) == [agent])
    assert world.run(handle, "print(1)")[1] == "1\n"


def test_a_job_is_lost_with_any_of_its_machines_and_none_starts_before_a_restart(
    world: World, refused: Refused
) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    ref = started(world, handle, DAEMON, "wait")
    os.kill(world.agent(handle, 1), signal.SIGKILL)
    assert world.end(ref).reason is ExitReason.LOST
    assert jobs_of(world) == []
    with refused("NodeLost"):
        world.cloud.start(handle, world.process("pass"))
    handle = world.go(replace(spec, generation=2), Target.RUNNING, handle)
    assert world.run(handle, "pass")[0].code == 0


def test_deleting_a_machine_ends_its_jobs(world: World) -> None:
    spec = world.spec()
    handle = world.go(spec)
    ref = started(world, handle, DAEMON, "wait")
    handle = world.go(spec, Target.PAUSED, handle)
    assert processes_of(world.cloud.root) == []
    assert world.end(ref).reason is ExitReason.LOST
    handle = world.go(spec, Target.TERMINATED, handle)
    assert world.end(ref).reason is ExitReason.LOST


def test_a_job_outlives_the_portal(running: Running) -> None:
    """The portal that starts it is another process, and killed before the job ends."""
    world, handle = running
    process = world.process("import time\nprint('going', flush=True)\ntime.sleep(0.5)\nprint('done')")
    code = (
        "import json, os, sys; from pathlib import Path\n"
        "from portal.clouds.base import *; from portal.clouds.local.provider import LocalCloud\n"
        "root, machine, handle, id, file = json.loads(sys.argv[1])\n"
        "process = Process(id, file, [], {}, LaunchMode.SPAWN, 1, 60)\n"
        "print(json.dumps(LocalCloud(Path(root), Path(machine)).start(handle, process)), flush=True)\n"
        "os.kill(0, 9)\n"
    )
    argument = json.dumps([str(world.cloud.root), str(world.cloud.machine_root), handle, process.id, process.file])
    portal = subprocess.run(
        [sys.executable, "-c", code, argument], stdout=subprocess.PIPE, start_new_session=True, check=False
    )
    assert portal.returncode == -signal.SIGKILL
    ref = json.loads(portal.stdout)
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == "going\ndone\n"


def test_starting_twice_starts_once(running: Running) -> None:
    world, handle = running
    process = world.process("import time\nopen('starts', 'a').write('x')\ntime.sleep(0.3)")
    refs: list[Any] = []
    threads = [threading.Thread(target=lambda: refs.append(world.cloud.start(handle, process))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refs == [refs[0]] * 8
    assert world.end(refs[0]).code == 0
    assert world.cloud.start(handle, process) == refs[0]
    assert (world.bodofs / "starts").read_text() == "x"


def test_a_lost_answer_is_not_a_failed_start(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    world, handle = running
    process = world.process("open('starts', 'a').write('x')")

    def lost(connection: socket.socket, *_: Any, **__: Any) -> Any:
        wait_for(lambda: (world.bodofs / "starts").exists())
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "makefile", lost)
        ref = world.cloud.start(handle, process)
    assert world.end(ref).code == 0
    assert (world.bodofs / "starts").read_text() == "x"


def test_a_job_runs_when_start_returns(running: Running) -> None:
    world, handle = running
    process = world.process("import time\ntime.sleep(60)")
    world.cloud.start(handle, process)
    assert any(process.file.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in jobs_of(world))


def test_the_environment_is_built_from_nothing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    world, handle = running
    monkeypatch.setenv("PORTAL_SECRET", "portal-secret")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    _, stdout, _ = world.run(handle, code, environment={"OWN": "mine"})
    environment = json.loads(stdout)
    assert environment["OWN"] == "mine"
    assert environment["PATH"].startswith(str(world.cloud.installed.path(RELEASE) / "bin"))
    assert "portal-secret" not in stdout
    assert set(environment) <= {
        *("OWN", "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"),
        *("NUMBA_CACHE_DIR", "BODO_NUM_WORKERS", "FI_TCP_IFACE", "UCX_NET_DEVICES", "MPIR_CVAR_CH4_OFI_IFNAME"),
        *("PORTAL_CLUSTER_ID", "PORTAL_RUN", "PORTAL_WORKERS", "PORTAL_INSTANCE", "PORTAL_BODOFS", "PORTAL_OUTPUT"),
    }
    assert environment["PORTAL_BODOFS"] == str(world.bodofs)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PORTAL_INSTANCE", "BODO_SPAWN_MODE", "PYTHONHOME", "A=B", ""])
def test_a_job_cannot_set_what_is_ours(running: Running, refused: Refused, name: str) -> None:
    world, handle = running
    with refused("EnvironmentNotAllowed"):
        world.cloud.start(handle, world.process("pass", environment={name: "x"}))


def test_the_catalog_that_the_portal_gives_reaches_the_job(running: Running) -> None:
    """It is the one variable of ours that comes from outside the provider."""
    world, handle = running
    code = "import os; print(os.environ['PORTAL_CATALOG'])"
    _, stdout, _ = world.run(handle, code, environment={"PORTAL_CATALOG": '{"name": "x"}'})
    assert stdout == '{"name": "x"}\n'


def test_secrets_given_to_a_job_are_not_written_down(running: Running) -> None:
    world, handle = running
    given = {"PASSWORD": "given-secret", "PORTAL_CATALOG": "given-secret"}
    exit, stdout, _ = world.run(handle, "import os; print(len(os.environ['PORTAL_CATALOG']))", environment=given)
    assert (exit.code, stdout) == (0, "12\n")
    everything = [path for path in world.cloud.root.rglob("*") if path.is_file()]
    assert any(path.name == "spec.json" for path in everything)
    assert not [path for path in everything if b"given-secret" in path.read_bytes()]


@needs_landlock
def test_a_job_reads_nothing_of_the_portals_account(running: Running, tmp_path: Path) -> None:
    world, handle = running
    secret = tmp_path / "secret"
    secret.write_text("portal-secret")
    agent = world.agent(handle)
    node = world.cloud.root / handle["steps"]["node-0"]["id"]
    paths = [
        *(secret, f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/root{secret}", f"/proc/{agent}/environ"),
        *(node / "node.json", Path.home(), world.cloud.machine_root / "instances", world.cloud.root, "/root", "/tmp"),
        *(f"/proc/{os.getpid()}/mem", f"/proc/{os.getpid()}/fd/0", f"{world.bodofs}/way-out/secret"),
    ]
    (world.bodofs / "way-out").symlink_to(tmp_path)
    code = (
        "import json, os, sys\nfor path in json.loads(sys.argv[1]):\n"
        "    try:\n        print('READ', path, os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(9))\n"
        "    except OSError as error:\n        print(type(error).__name__, path)\n"
    )
    exit, stdout, _ = world.run(handle, code, json.dumps([str(path) for path in paths]))
    assert exit.code == 0
    assert "READ" not in stdout
    assert stdout.count("PermissionError") == len(paths) - stdout.count("FileNotFoundError /root")


@needs_landlock
def test_a_job_writes_only_where_it_should(running: Running, tmp_path: Path) -> None:
    world, handle = running
    ours = [tmp_path / "new", world.cloud.installed.path(RELEASE) / "new", "/etc/new", "/usr/new"]
    code = (
        "import json, os, sys, tempfile\nopen('result', 'w').write('x')\ntempfile.TemporaryFile().close()\n"
        "open(os.path.expanduser('~/.config'), 'w').close()\nopen('/dev/null', 'w').write('x')\n"
        "os.mkdir('folder'); os.rename('result', 'folder/result')\n"
        "for path in json.loads(sys.argv[1]):\n"
        "    try:\n        open(path, 'w'); print('WROTE', path)\n"
        "    except OSError:\n        pass\n"
    )
    exit, stdout, stderr = world.run(handle, code, json.dumps([str(path) for path in ours]))
    assert (exit.code, stdout, stderr) == (0, "", "")
    assert (world.bodofs / "folder" / "result").read_text() == "x"


@needs_scopes
def test_a_job_cannot_signal_the_portal(running: Running) -> None:
    world, handle = running
    code = (
        "import os, sys\nfor pid in sys.argv[1:]:\n"
        "    try:\n        os.kill(int(pid), 0); print('SIGNALLED', pid)\n    except PermissionError:\n        pass\n"
        "child = os.fork() or (__import__('time').sleep(60), os._exit(0))\nos.kill(child, 9)\n"
    )
    exit, stdout, stderr = world.run(handle, code, str(os.getpid()), str(world.agent(handle)))
    assert (exit.code, stdout, stderr) == (0, "", "")


def test_the_agent_obeys_only_who_knows_its_token(running: Running) -> None:
    world, handle = running
    node = world.cloud.root / handle["steps"]["node-0"]["id"]
    code = (
        "import json, socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(json.dumps({'do': 'shutdown', 'token': 'guess'}).encode() + b'\\n'); print(s.recv(999).decode())\n"
    )
    (world.bodofs / "s").symlink_to(node / "agent.sock")  # its path may be too long for a socket's
    exit, stdout, stderr = world.run(handle, code, "s")
    assert exit.code == 0, stderr
    assert json.loads(stdout) == {"ok": False, "error": "wrong token"}
    assert world.run(handle, "pass")[0].code == 0


def test_nonsense_does_not_stop_the_agent(running: Running) -> None:
    world, handle = running
    folder = os.open(world.cloud.root / handle["steps"]["node-0"]["id"], os.O_PATH)
    for nonsense in (b"", b"{", b"null\n", b"[]\n", b'{"token": null}\n', b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/proc/self/fd/{folder}/agent.sock")
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(1000)
    os.close(folder)
    assert world.run(handle, "pass")[0].code == 0


def test_a_job_has_the_cores_of_all_machines(world: World) -> None:
    handle = world.go(world.spec(2))
    cores = {core for held in world.cloud.capacity.held(world.cluster_of(handle)).values() for core in held}
    exit, stdout, _ = world.run(handle, "import os; print(sorted(os.sched_getaffinity(0)))")
    assert exit.code == 0
    assert json.loads(stdout) == sorted(cores)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("../out.py", "PathNotAllowed"),
        ("/etc/passwd", "PathNotAllowed"),
        ("link.py", "PathNotAllowed"),
        ("folder-link/secret.py", "NotAFolder"),
        ("missing.py", "FileNotFound"),
        ("folder", "IsAFolder"),
    ],
)
def test_only_files_of_the_workspace_can_be_run(
    running: Running, refused: Refused, tmp_path: Path, file: str, code: str
) -> None:
    world, handle = running
    (tmp_path / "secret.py").write_text("print('ran')")
    (world.bodofs / "link.py").symlink_to(tmp_path / "secret.py")
    (world.bodofs / "folder-link").symlink_to(tmp_path)
    (world.bodofs / "folder").mkdir()
    with refused(code):
        world.cloud.start(handle, replace(world.process("pass"), file=file))


def test_a_file_named_like_an_option_is_a_file(running: Running) -> None:
    world, handle = running
    (world.bodofs / "-c").write_text("print('ran')")
    ref = world.cloud.start(handle, replace(world.process("pass"), file="-c"))
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == "ran\n"


def test_a_program_that_cannot_be_run_is_an_error_not_a_lost_job(running: Running, refused: Refused) -> None:
    world, handle = running
    (world.cloud.installed.path(RELEASE) / "bin/python").unlink()
    process = world.process("pass")
    for _ in range(2):
        with refused("NodeRefused"):
            world.cloud.start(handle, process)


def test_logs_are_read_in_pieces_from_both_ends(running: Running) -> None:
    world, handle = running
    ref = world.cloud.start(handle, world.process("print('0123456789', end='')"))
    assert world.cloud.logs(handle, ref, LogStream.STDERR, 5, 10).data == b""
    world.end(ref)

    def read(offset: int, limit: int) -> tuple[bytes, int, int, int]:
        chunk = world.cloud.logs(handle, ref, LogStream.STDOUT, offset, limit)
        return chunk.data, chunk.offset, chunk.next_offset, chunk.size

    assert read(0, 4) == (b"0123", 0, 4, 10)
    assert read(4, 100) == (b"456789", 4, 10, 10)
    assert read(-3, 100) == (b"789", 7, 10, 10)
    assert read(-30, 2) == (b"01", 0, 2, 10)
    assert read(99, 5) == (b"", 10, 10, 10)


def test_logs_are_searched(running: Running) -> None:
    world, handle = running
    ref = world.cloud.start(handle, world.process("for i in range(1000): print('line', i)"))
    assert world.cloud.search(handle, ref, LogStream.STDERR, "line", 0, 3).lines == []
    world.end(ref)
    matches = world.cloud.search(handle, ref, LogStream.STDOUT, "LINE 99", 0, 3)
    assert [line.data for line in matches.lines] == [b"line 99", b"line 990", b"line 991"]
    assert 0 < matches.next_offset < matches.size


def test_many_jobs_are_polled_with_one_call(running: Running) -> None:
    world, handle = running
    refs = [world.cloud.start(handle, world.process(f"raise SystemExit({number})")) for number in range(4)]
    unfinished = world.cloud.start(handle, world.process("import time; time.sleep(60)"))
    for ref in refs:
        world.end(ref)
    exits = world.cloud.poll([*refs, unfinished])
    assert [exit and exit.code for exit in exits] == [0, 1, 2, 3, None]


def test_a_job_whose_start_failed_can_be_started_again(running: Running, refused: Refused) -> None:
    """And the failure leaves no end that would be taken for the second start's."""
    world, handle = running
    process = world.process("print('said')")
    python = world.cloud.installed.path(RELEASE) / "bin" / "python"
    away = python.with_name("away")
    os.rename(python, away)
    try:
        with refused("NodeRefused"):
            world.cloud.start(handle, process)
        wait_for(lambda: processes_of(world.clusters) == [world.agent(handle)])  # its supervisor is buried
    finally:
        os.rename(away, python)
    ref = world.cloud.start(handle, process)
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == "said\n"
