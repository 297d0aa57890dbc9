"""The node agent: a small daemon that *is* the instance.

It starts jobs for the portal, keeps a heartbeat, outlives the portal, and when it dies its jobs die with it, as on a
machine that went away. The portal talks to it over a unix socket, one JSON line each way; every request carries the
node's token, since job code may connect to the socket but cannot read the token's file.

    {"token": ..., "do": "ping"}                      → {"ok": true}
    {"token": ..., "do": "start", "run": {...}}       → {"ok": true} once the job's program runs
    {"token": ..., "do": "stop", "run": id}           → {"ok": true}; the end is written to the run's exit.json
    {"token": ..., "do": "shutdown"}                  → {"ok": true}, then ends all jobs and itself

Run as a file, with the standard library only: ``python -I -S agent.py NODE_DIRECTORY LOCK_DESCRIPTOR``. Each run has
its own fork of the agent as supervisor (``supervisor.py``).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hmac
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, TextIO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from portal.clouds.local import burial, kernel, supervisor

HEARTBEAT = 0.5
_SET_CHILD_SUBREAPER = 36
_MAX_REQUEST = 4 << 20
_REQUEST_SECONDS = 2.0


class Agent:
    """One node. The working directory is the node's directory, so that the socket's path is short."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.node: dict[str, Any] = kernel.get(directory / "node.json")
        self.runs: dict[int, Path] = {}
        self.leaving = False

    def serve(self) -> None:
        """Answer requests until shut down."""
        os.chdir(self.directory)
        self.environment = hold(Path(self.node["release"]))
        os.sched_setaffinity(0, self.node["cores"])
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: self.leave())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        waker, wakened = socket.socketpair()
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

        Path("agent.sock").unlink(missing_ok=True)
        self.listener = listener = socket.socket(socket.AF_UNIX)
        listener.bind("agent.sock")
        os.chmod("agent.sock", 0o600)
        listener.listen(64)
        self.beat()
        kernel.put(Path("agent.json"), kernel.identity(os.getpid()))

        while not (self.leaving and not self.runs):
            ready = select.select([listener, wakened], [], [], HEARTBEAT)[0]
            if wakened in ready:
                wakened.recv(4096)
            if not self.directory.exists():
                self.leave()
            else:
                self.beat()
            self.reap()
            if self.leaving:
                self.leave()
            if listener in ready:
                self.answer(listener.accept()[0])

    def beat(self) -> None:
        """Say that we live: by the clock of the wall for people, and as access time by one that knows no sleep and no
        adjustment, for those who judge."""
        Path("heartbeat").touch()
        os.utime("heartbeat", (time.monotonic(), time.time()))

    def leave(self) -> None:
        """End all runs; the loop ends once they have."""
        self.leaving = True
        for pid in self.runs:
            os.kill(pid, signal.SIGTERM)

    def reap(self) -> None:
        """Bury ended supervisors. One that ended without writing an exit was killed: what it left is killed too."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self.runs.pop(pid, None)
            started = run is not None and (run / "spec.json").exists()  # else its start failed, and may be tried again
            if run is not None and started and not (run / "exit.json").exists():
                burial.end_orphans(self.runs)
                with contextlib.suppress(OSError):  # a full disk must not end the agent; whoever polls buries it later
                    burial.bury(run)

    def answer(self, connection: socket.socket) -> None:
        """Answer one request; whatever is wrong with it, the agent goes on."""
        with connection:
            try:
                request = json.loads(_line(connection))
                if not hmac.compare_digest(str(request.get("token")), self.node["token"]):
                    reply(connection, {"ok": False, "error": "wrong token"})
                elif request["do"] == "start" and not self.leaving:
                    self.start(connection, request["run"])
                elif request["do"] == "stop":
                    self.stop(request["run"])
                    reply(connection, {"ok": True})
                elif request["do"] == "shutdown":
                    self.leave()
                    reply(connection, {"ok": True})
                else:
                    reply(connection, {"ok": request["do"] == "ping", "error": "the node is shutting down"})
            except Exception as error:
                _log("request failed:", repr(error))
                reply(connection, {"ok": False, "error": str(error)})

    def start(self, connection: socket.socket, run: dict[str, Any]) -> None:
        """Start a run, once for each id. Its supervisor answers the portal when the job's program runs."""
        directory = Path(self.node["runs"]) / run["id"]
        if (directory / "spec.json").exists():
            reply(connection, {"ok": True})
            return
        if time.monotonic() > run["until"]:  # whoever asked has given it up, and may have said so
            raise TimeoutError("the request to start came too late")
        directory.mkdir(mode=0o700, exist_ok=True)
        known = {key: value for key, value in run.items() if key != "environment"}  # which may hold secrets
        kernel.put(directory / "spec.json", {**known, "agent": kernel.identity(os.getpid())})
        agent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.WAKERS)  # none of our handlers may run in the fork
        try:
            pid = os.fork()
            if pid == 0:
                self.listener.close()
                supervisor.main(agent, run, directory, connection)
            self.runs[pid] = directory
        except OSError:
            (directory / "spec.json").unlink()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, supervisor.WAKERS)

    def stop(self, id: str) -> None:
        """Pass a request to stop on to the supervisor: the file is the request, the signal only wakes it."""
        directory = Path(self.node["runs"]) / id
        if directory.exists():
            (directory / "cancel").touch()
            for pid in (pid for pid, run in self.runs.items() if run == directory):
                os.kill(pid, signal.SIGUSR1)


def hold(release: Path) -> TextIO:
    """Keep a release from being removed (see ``installer.py``) until we, and the supervisors forked from us, are gone.

    Raises OSError where it has been removed already.
    """
    whole = open(release / ".complete")  # noqa: SIM115
    fcntl.flock(whole, fcntl.LOCK_SH)
    return whole


def reply(connection: socket.socket, answer: dict[str, Any]) -> None:
    """Answer a client that may be gone, or not listen."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _line(connection: socket.socket) -> bytes:
    """A request, which must come at once: while we read, nothing else is done."""
    deadline = time.monotonic() + _REQUEST_SECONDS
    data = b""
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = connection.recv(65536)
        if not chunk or len(data) > _MAX_REQUEST:
            raise ValueError("the request is cut off or too long")
        data += chunk
    return data


def _log(*words: object) -> None:
    """A line in agent.log; a full disk must not end the agent."""
    with contextlib.suppress(OSError):
        print(time.strftime("%F %T"), *words, file=sys.stderr, flush=True)  # noqa: T201


def main() -> None:
    """Leave the parent behind and serve."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.set_inheritable(int(sys.argv[2]), False)
    Agent(Path(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
