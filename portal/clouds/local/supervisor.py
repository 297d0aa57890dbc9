"""One run on a node: start the job's program, watch its time and memory, end all of it, write down how it ended.

It is a fork of the agent and lives as long as the run. As subreaper it keeps every descendant, whatever session or
group they move to (MPI ranks have their own, so killing a process group is not enough). It notices by itself when the
agent is gone: the node is lost, and its processes with it.

    spec.json    what was asked for, without the environment, which may hold secrets; and the agent that took it
    status.json  the job's process and its start; touched while the run lives
    tree.json    identities of the processes seen last, to find strays by
    exit.json    how it ended; written once, whoever writes first
    cancel       a request to stop
    lost.json    a request to stop because something that it needs is lost, as a sentence
    std*.log     what the job writes
    launcher.log what mpiexec itself writes, apart from the ranks

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from portal.clouds.local import burial, endings, kernel, limits, sandbox
from portal.clouds.local.endings import Ending

TICK = 0.5
"""Seconds between looks at memory and time; ends and requests to stop wake us at once."""

GRACE = 5.0
"""Seconds between asking a job to end and killing it."""

LEFTOVER_GRACE = 1.0
"""Seconds that what a job's main process, or its last rank, leaves behind has to end by itself."""

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_TAIL = 64 << 10
WAKERS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
_libc = ctypes.CDLL(None)
_PROXY = "hydra_pmi_proxy"
_HYDRA = ("mpiexec", _PROXY)


def main(agent: int, run: dict[str, Any], directory: Path, connection: socket.socket) -> NoReturn:
    """The life of a supervisor, from its fork on; ``agent`` is who forked."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGUSR1, 0, 0, 0)
        if os.getppid() != agent:
            raise ProcessLookupError("the agent was killed before we could ask to be told")
        os.sched_setaffinity(0, run["cores"])
        supervisor = Supervisor(run, directory, agent)
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


class Supervisor:
    """Watches one run. ``ranks`` are the processes of its ranks that were seen, by pid."""

    def __init__(self, run: dict[str, Any], directory: Path, agent: int) -> None:
        self.run, self.directory, self.agent = run, directory, agent
        self.started = time.time()
        self.clock = time.monotonic()
        self.kernel_kills = _kernel_kills()
        self.disk = limits.DiskWatch([*run["writable"], str(directory)], run["disk_reserve"])
        self.caps = [limits.LogCap(directory / f"{name}.log", run["log_limit"]) for name in ("stdout", "stderr")]
        self.ended: dict[int, int] = {}
        self.tree: dict[int, int] = {}
        self.noted: dict[int, int] = {}
        self.ranks: dict[int, int] = {}
        self.rank_seen = self.clock
        self.left_over: set[int] = set()
        self.dismissed = False
        self.job = 0

    def start(self) -> None:
        """Fork the job's program; returns when it runs, raises what kept it from running."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        supervisor = os.getpid()
        self.job = os.fork()
        if self.job == 0:
            try:
                self._become_job(supervisor)
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
        with contextlib.suppress(OSError):  # a disk that is full already
            kernel.keep_room(self.directory / "exit.json")

    def watch(self) -> None:
        """Wait for the end, or for a reason to end it; then leave nothing behind and write the exit."""
        ending = None
        while ending is None:
            self.reap()
            if self.job in self.ended:
                break
            ending = self.reason_to_end()
            if ending is None:
                self.note()
                woken = signal.sigtimedwait(WAKERS, self.pause())
                self.dismissed |= woken is not None and woken.si_signo == signal.SIGTERM
        gone = [rank for pid, rank in self.ranks.items() if kernel.start_time(pid) is None]
        forced = self.end_tree(ending)
        if ending is None:
            ending = self.own_end(gone)
        else:
            if forced:
                ending = replace(
                    ending, detail=f"{ending.detail} It did not end when asked to, and was killed.".strip()
                )
            process = endings.of_program(self.ended.get(self.job))
            ending = replace(ending, code=process.code, signal=process.signal)
        self.last_words(ending)
        outcome = {**asdict(ending), "started": self.started, "ended": time.time()}
        while os.getppid() == self.agent:
            try:
                kernel.put_for_good(self.directory / "exit.json", outcome)
                break
            except OSError:  # a disk so full that not even a name fits: the run goes on for the portal until one does
                burial.clean(self.directory)
                time.sleep(1)
        burial.clean(self.directory)

    def pause(self) -> float:
        """Seconds until the next look: short until the ranks are there, so that none of them is missed."""
        missed = self.run["mode"] == "spmd" and len(self.ranks) < self.run["workers"]
        return 0.05 if missed and time.monotonic() - self.clock < 5 else TICK

    def reason_to_end(self) -> Ending | None:
        """Why the run must end now, if it must."""
        if os.getppid() != self.agent or self.dismissed:
            return Ending("LOST", "The machine that it ran on was removed.")
        if not all(map(kernel.alive, self.run["peers"])):
            return Ending("LOST", "A machine of the cluster was lost.")
        if (self.directory / "cancel").exists():
            return Ending("CANCELLED")
        if lost := kernel.get(self.directory / "lost.json"):
            return Ending("LOST", lost)
        if time.monotonic() - self.clock > self.run["timeout"]:
            return Ending("TIMEOUT", f"It took longer than {endings.duration(self.run['timeout'])}.")
        self.tree = kernel.descendants(os.getpid())
        self.look_at_ranks()
        for cap in self.caps:
            with contextlib.suppress(OSError):
                cap.look()
        if self.disk.full([os.getpid(), *self.tree]):
            detail = "The disk of the machine was nearly full, and the run went on writing."
            return Ending("DISK_FULL", f"{detail} Delete files that are no longer needed.")
        return self.memory_exceeded()

    def memory_exceeded(self) -> Ending | None:
        """Whether the run takes more than its machines have."""
        limit = self.run["memory"] << 20
        if kernel.memory(self.tree, limit) <= limit:
            return None
        used = kernel.memory(kernel.descendants(os.getpid()), limit)  # a fork between two looks counts pages twice
        if used <= limit:
            return None
        whose = self.run.get("memory_of", "the cluster")
        detail = f"Its processes took {used >> 20} MiB of memory together; {whose} has {self.run['memory']} MiB."
        return Ending("OUT_OF_MEMORY", detail)

    def look_at_ranks(self) -> None:
        """Note the ranks: the children of Hydra's proxies. ``mpiexec`` ends once nobody holds their output open; what
        they leave in the background must not keep it for ever."""
        programs = {pid: kernel.program(pid) for pid in self.tree}
        for pid, parent in self.tree.items():
            if programs.get(parent) == _PROXY and programs[pid] != _PROXY and pid not in self.ranks:
                rank = kernel.variable(pid, "PMI_RANK")
                if rank.isdigit():
                    self.ranks[pid] = int(rank)
        below = {self.job}
        for pid, parent in self.tree.items():  # parents come first
            if parent in below:
                below.add(pid)
        now = time.monotonic()
        if self.run["mode"] != "spmd" or any(programs.get(pid) not in _HYDRA for pid in below):
            self.rank_seen = now
        elif now - self.rank_seen > LEFTOVER_GRACE:
            self.left_over |= self.send(signal.SIGKILL, set(self.tree) - below)

    def own_end(self, gone: list[int]) -> Ending:
        """How the run ended by itself; ``gone`` are the ranks that were no more when its process ended."""
        status, killed = self.ended.get(self.job), _kernel_kills() > self.kernel_kills
        if self.run["mode"] == "spmd" and status is not None:
            launcher, stderr = (_tail(self.directory / name) for name in ("launcher.log", "stderr.log"))
            ending = endings.of_ranks(status, launcher, stderr, out_of_memory=killed)
        else:
            ending = endings.of_spawner(status, gone, self.run["workers"], out_of_memory=killed)
        if ending.detail and self.disk.critical():
            ending = replace(ending, reason="DISK_FULL", detail=f"{ending.detail} The disk of the machine is full.")
        if self.left_over:
            what = "1 process" if len(self.left_over) == 1 else f"{len(self.left_over)} processes"
            detail = f"{ending.detail} {what} that it left in the background had to be ended.".strip()
            ending = replace(ending, detail=detail)
        return ending

    def last_words(self, ending: Ending) -> None:
        """Finish the logs; they say what the program itself does not know. A full disk must not keep us."""
        for cap in self.caps:
            with contextlib.suppress(OSError):
                cap.finish()
        if ending.detail and (ending.reason != "EXITED" or self.left_over):
            with contextlib.suppress(OSError), open(self.directory / "stderr.log", "a") as log:
                log.write(f"[portal] {ending.detail}\n")

    def note(self) -> None:
        """Leave word of what is alive, for whoever comes after us; a full disk is no reason to end a job."""
        with contextlib.suppress(OSError):
            os.utime(self.directory / "status.json")
            if self.tree != self.noted:
                kernel.put(self.directory / "tree.json", [kernel.identity(pid) for pid in self.tree])
                self.noted = self.tree

    def end_tree(self, ending: Ending | None) -> bool:
        """End every descendant: asked first where there is time for it, killed after that. True if the time was not
        enough."""
        reason = None if ending is None else ending.reason
        grace = {None: LEFTOVER_GRACE, "CANCELLED": GRACE, "TIMEOUT": GRACE}.get(reason, 0.0)
        if reason is not None and grace:
            self.send(signal.SIGTERM, kernel.descendants(os.getpid()))
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and os.getppid() == self.agent:
            self.reap()
            if not kernel.descendants(os.getpid()):
                return False
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        killed = self.send(signal.SIGKILL, kernel.descendants(os.getpid()))
        if reason is None:
            self.left_over |= killed
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (tree := kernel.descendants(os.getpid())):
            self.send(signal.SIGKILL, tree)
            signal.sigtimedwait({signal.SIGCHLD}, 0.01)
            self.reap()
        return grace > 0

    def send(self, number: signal.Signals, pids: Collection[int]) -> set[int]:
        """Signal descendants; returns those that are neither ranks nor Hydra's."""
        others = {pid for pid in pids if pid not in self.ranks and kernel.program(pid) not in _HYDRA}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return others

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

    def _become_job(self, supervisor: int) -> NoReturn:
        os.setsid()
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(127)  # it was killed before that: nobody would watch the program
        kernel.brand(f"PORTAL_RUN={self.run['id']}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(os.open(self.directory / "stdout.log", flags, 0o600), 1)
        os.dup2(os.open(self.directory / "stderr.log", flags, 0o600), 2)
        if self.run["mode"] == "spmd":
            os.dup2(os.open(self.directory / "launcher.log", flags, 0o600), 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")  # the kernel should rather end a job than the portal
        os.chdir(self.run["working_directory"])
        os.umask(0o022)
        if account := self.run.get("account"):
            os.initgroups(*account["groups"])
            os.setgid(account["gid"])
            os.setuid(account["uid"])
        if self.run["system"] is not None:
            sandbox.restrict(self.run["system"], self.run["readable"], self.run["writable"], self.run["hidden"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAKERS)
        os.execve(self.run["command"][0], self.run["command"], self.run["environment"])  # noqa: S606


def _tail(path: Path) -> bytes:
    """The end of a log of ours."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read()
    except FileNotFoundError:
        return b""


def _kernel_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory since it started."""
    with open("/proc/vmstat") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
