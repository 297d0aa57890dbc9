"""The supervisor of one notebook server: a daemon that outlives the portal and without which nothing of the server is
left.

It opens what the sandbox may not (the socket, terminals), starts JupyterLab in the sandbox, writes down the activity
that it tells, keeps its kernels within the memory of its size, and ends whatever is left when it ends.

Run as a file, with the standard library only: ``python -I -S lab.py SERVER_DIRECTORY LOCK_DESCRIPTOR``. In the
directory:

    server.json     what to run (see ``notebooks.py``)
    lab.sock        where JupyterLab listens; 0600, bound here
    activity.json   {"at": seconds since 1970 or null, "busy": bool}
    config/         JupyterLab's configuration and secret, which it can read
    home/ tmp/ run/ its own, which it can write
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from portal.clouds.local import agent, kernel, sandbox

LOOK_SECONDS = 1.0
LEAVE_SECONDS = 5.0
_SET_CHILD_SUBREAPER, _SET_PARENT_DEATH_SIGNAL = 36, 1
_libc = ctypes.CDLL(None)


class Supervisor:
    """One server. The working directory is its directory, so that the socket's path is short."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server: dict[str, Any] = kernel.get(directory / "server.json")
        self.leaving_since: float | None = None

    def run(self) -> None:
        """Until JupyterLab has ended, and all that it started."""
        os.chdir(self.directory)
        self.release = agent.hold(Path(self.server["release"]))
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: self.leave())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        waker, wakened = socket.socketpair()
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = _listen()
        self.pid = os.fork()
        if self.pid == 0:
            self._become_lab(os.getppid(), listener, theirs)
        theirs.close()
        listener.close()
        try:
            while self._lives():
                waiting: list[Any] = [wakened, self.control]
                ready = select.select(waiting, [], [], LOOK_SECONDS)[0]
                if wakened in ready:
                    wakened.recv(4096)
                if self.control in ready:
                    self.answer()
                if not self.directory.exists():
                    self.leave()
                if self.leaving_since is not None and time.monotonic() - self.leaving_since > LEAVE_SECONDS:
                    os.kill(self.pid, signal.SIGKILL)
                self.keep_within_memory()
        finally:
            _end_all()

    def leave(self) -> None:
        """Ask JupyterLab to end; it is made to after a while."""
        if self.leaving_since is None:
            self.leaving_since = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def answer(self) -> None:
        """A terminal, or word of activity. The other side is user code: whatever it says, we go on."""
        word = self.control.recv(256)
        if word == b"terminal":
            with contextlib.suppress(OSError):
                ends = os.openpty()
                socket.send_fds(self.control, [b"terminal"], ends)
                for end in ends:
                    os.close(end)
        elif word:
            with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
                told = json.loads(word)
                at = None if told["at"] is None else min(float(told["at"]), time.time())
                kernel.put(Path("activity.json"), {"at": at, "busy": bool(told["busy"])})

    def keep_within_memory(self) -> None:
        """End the largest process of the server's where all together have more than its size: most often a kernel, of
        which JupyterLab then says that it died."""
        limit = self.server["memory"] << 20
        below = kernel.descendants(os.getpid())
        if kernel.memory(below, limit) <= limit:
            return
        largest = max((pid for pid in below if pid != self.pid), key=lambda pid: kernel.memory([pid], 0), default=None)
        if largest is not None:
            _log(f"over {self.server['memory']} MiB: ending {largest} ({kernel.program(largest)})")
            with contextlib.suppress(ProcessLookupError):
                os.kill(largest, signal.SIGKILL)

    def _lives(self) -> bool:
        """Collect what has ended; False once JupyterLab has."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                _log(f"JupyterLab ended with {os.waitstatus_to_exitcode(status)}")
                return False

    def _become_lab(self, supervisor: int, listener: socket.socket, control: socket.socket) -> NoReturn:
        try:
            os.setsid()
            _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(127)
            kernel.brand(f"PORTAL_NOTEBOOK={self.server['id']}")
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            Path("/proc/self/oom_score_adj").write_text("500")  # the kernel should rather end this than the portal
            os.umask(0o022)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            environment = {
                **self.server["environment"],
                "PORTAL_SOCKET": str(listener.fileno()),
                "PORTAL_CONTROL": str(control.fileno()),
            }
            for handed in (listener, control):
                os.set_inheritable(handed.fileno(), True)
            server = self.server
            sandbox.restrict(server["system"], server["readable"], server["writable"], server["hidden"])
            os.execve(server["command"][0], server["command"], environment)  # noqa: S606
        except BaseException as error:
            _log("JupyterLab could not be started:", repr(error))
            os._exit(126)


def _listen() -> socket.socket:
    Path("lab.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("lab.sock")
    os.chmod("lab.sock", 0o600)
    listener.listen(4096)  # with a full queue, a unix socket refuses at once: a page opens many connections together
    return listener


def _end_all() -> None:
    """Kill what is below us until nothing is."""
    for _ in range(500):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        below = kernel.descendants(os.getpid())
        if not below:
            return
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _log(*words: object) -> None:
    """A line in lab.log; a full disk must not end us."""
    with contextlib.suppress(OSError):
        print(time.strftime("%F %T"), *words, file=sys.stderr, flush=True)  # noqa: T201


def main() -> None:
    """Leave the parent behind and watch."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.set_inheritable(int(sys.argv[2]), False)
    Supervisor(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
