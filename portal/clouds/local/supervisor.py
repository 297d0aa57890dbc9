"""One run on a node: start the job's program, watch its time and memory, end all of it, write down how it ended.

It is a fork of the agent and lives as long as the run. As subreaper it keeps every descendant, whatever session or
group they move to (MPI ranks have their own, so killing a process group is not enough). It notices by itself when the
agent is gone: the node is lost, and its processes with it.

    spec.json    what was asked for, without the environment, which may hold secrets; and the agent that took it
    status.json  the job's process and its start; touched while the run lives
    tree.json    identities of the processes seen last, to find strays by
    exit.json    how it ended; written once, whoever writes first
    cancel       a request to stop

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from portal.clouds.local import kernel, sandbox

TICK = 0.5
"""Seconds between looks at memory and time; ends and requests to stop wake us at once."""

GRACE = 5.0
"""Seconds between asking a job to end and killing it."""

LEFTOVER_GRACE = 1.0
"""Seconds that what a job's main process leaves behind has to end by itself."""

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
WAKERS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
_libc = ctypes.CDLL(None)
_BANNER = re.compile(rb"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: [^\n]*\(signal (\d+)\)")


def main(node: dict[str, Any], run: dict[str, Any], directory: Path, connection: socket.socket) -> NoReturn:
    """The life of a supervisor, from the fork on."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        agent = os.getppid()
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGUSR1, 0, 0, 0)
        os.sched_setaffinity(0, run["cores"])
        supervisor = Supervisor(node, run, directory, agent)
        try:
            supervisor.start()
            answer: dict[str, Any] = {"ok": True}
        except OSError as error:
            (directory / "spec.json").unlink()
            answer = {"ok": False, "error": f"{error.strerror}: {error.filename or run['command'][0]}"}
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\n")
        connection.close()
        if answer["ok"]:
            supervisor.watch()
        code = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            print(time.strftime("%F %T"), f"run {run['id']}:", repr(error), file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)


def bury(directory: Path) -> None:
    """Kill what an unwatched run left behind, and record it as lost when it was last seen alive."""
    mark = f"PORTAL_RUN={directory.name}"
    for _ in range(100):
        strays = [
            *kernel.marked(mark),
            *(who for who in kernel.get(directory / "tree.json") or [] if kernel.alive(who)),
        ]
        if not strays:
            break
        for who in strays:
            kernel.send(who, signal.SIGKILL)
        time.sleep(0.02)
    status = kernel.get(directory / "status.json") or {}
    try:
        ended = (directory / "status.json").stat().st_mtime
    except FileNotFoundError:
        ended = time.time()
    if directory.exists():
        lost = {"reason": "LOST", "code": None, "signal": None, "started": status.get("started"), "ended": ended}
        kernel.put(directory / "exit.json", lost, durable=True, replace=False)


class Supervisor:
    """Watches one run."""

    def __init__(self, node: dict[str, Any], run: dict[str, Any], directory: Path, agent: int) -> None:
        self.node, self.run, self.directory, self.agent = node, run, directory, agent
        self.started = time.time()
        self.clock = time.monotonic()
        self.kernel_kills = _kernel_kills()
        self.ended: dict[int, int] = {}
        self.tree: list[int] = []
        self.noted: list[int] = []
        self.dismissed = False
        self.job = 0

    def start(self) -> None:
        """Fork the job's program; returns when it runs, raises what kept it from running."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.job = os.fork()
        if self.job == 0:
            try:
                self._become_job()
            except BaseException as error:
                failure = error if isinstance(error, OSError) else OSError(0, repr(error))
                os.write(writer, json.dumps([failure.errno, failure.strerror, failure.filename]).encode())
            finally:
                os._exit(127)
        os.close(writer)
        with open(reader, "rb") as answer:
            failed = answer.read()
        if failed:
            os.waitpid(self.job, 0)
            raise OSError(*json.loads(failed))
        kernel.put(self.directory / "status.json", {"job": kernel.identity(self.job), "started": self.started})

    def watch(self) -> None:
        """Wait for the end, or for a reason to end it; then leave nothing behind and write the exit."""
        reason = None
        while reason is None:
            self.reap()
            if self.job in self.ended:
                break
            reason = self.reason_to_end()
            if reason is None:
                self.note()
                woken = signal.sigtimedwait(WAKERS, TICK)
                self.dismissed |= woken is not None and woken.si_signo == signal.SIGTERM
        self.end_tree(reason)
        status = self.ended.get(self.job)
        code = None if status is None else os.waitstatus_to_exitcode(status)
        number = -code if code is not None and code < 0 else None
        if reason is None:
            number = number or (self.banner() if code else None)
            out_of_memory = number == signal.SIGKILL and _kernel_kills() > self.kernel_kills
            reason = "OUT_OF_MEMORY" if out_of_memory else "SIGNALLED" if number else "EXITED"
        outcome = {
            "reason": reason,
            "code": code if code is not None and code >= 0 else None,
            "signal": number,
            "started": self.started,
            "ended": time.time(),
        }
        while os.getppid() == self.agent:
            try:
                kernel.put(self.directory / "exit.json", outcome, durable=True, replace=False)
                return
            except OSError:  # a full disk: the portal sees the run going on until there is room
                time.sleep(1)

    def reason_to_end(self) -> str | None:
        """Why the run must end now, if it must."""
        if os.getppid() != self.agent or self.dismissed or not all(map(kernel.alive, self.run["peers"])):
            return "LOST"
        if (self.directory / "cancel").exists():
            return "CANCELLED"
        if time.monotonic() - self.clock > self.run["timeout"]:
            return "TIMEOUT"
        self.tree = kernel.descendants(os.getpid())
        limit = self.run["memory"] << 20
        if kernel.memory(self.tree, limit) <= limit:
            return None
        again = kernel.memory(kernel.descendants(os.getpid()), limit)  # a fork between two looks counts pages twice
        return "OUT_OF_MEMORY" if again > limit else None

    def note(self) -> None:
        """Leave word of what is alive, for whoever comes after us; a full disk is no reason to end a job."""
        with contextlib.suppress(OSError):
            os.utime(self.directory / "status.json")
            if self.tree != self.noted:
                kernel.put(self.directory / "tree.json", [kernel.identity(pid) for pid in self.tree])
                self.noted = self.tree

    def end_tree(self, reason: str | None) -> None:
        """End every descendant: asked first where there is time for it, killed after that."""
        grace = {None: LEFTOVER_GRACE, "CANCELLED": GRACE, "TIMEOUT": GRACE}.get(reason, 0.0)
        if reason is not None and grace:
            self.signal_tree(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and os.getppid() == self.agent:
            self.reap()
            if not kernel.descendants(os.getpid()):
                return
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.signal_tree(signal.SIGKILL):
            signal.sigtimedwait({signal.SIGCHLD}, 0.01)
            self.reap()

    def signal_tree(self, number: signal.Signals) -> int:
        """Signal all descendants and say how many there were."""
        tree = kernel.descendants(os.getpid())
        for pid in tree:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        return len(tree)

    def reap(self) -> None:
        """Collect ended children, ours and adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended[pid] = status

    def banner(self) -> int | None:
        """The signal that ended an MPI rank: ``mpiexec``'s own exit code mixes those of all ranks up."""
        if self.run["mode"] != "spmd":
            return None
        for name in ("stdout.log", "stderr.log"):
            with open(self.directory / name, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
                found = _BANNER.findall(log.read())
            if found:
                return int(found[-1])
        return None

    def _become_job(self) -> NoReturn:
        os.setsid()
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(os.open(self.directory / "stdout.log", flags, 0o600), 1)
        os.dup2(os.open(self.directory / "stderr.log", flags, 0o600), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")  # the kernel should rather end a job than the portal
        os.chdir(self.run["working_directory"])
        os.umask(0o022)
        sandbox.restrict(self.run["system"], self.run["readable"], self.run["writable"], self.run["hidden"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAKERS)
        os.execve(self.run["command"][0], self.run["command"], self.run["environment"])  # noqa: S606


def _kernel_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory since it started."""
    with open("/proc/vmstat") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
