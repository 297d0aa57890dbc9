"""Children that end with their parent, and what they said when they would not start."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 8.0
LOG_BYTES = 10_000_000  # a longer log is set aside as *.log.1 at the next start
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class EndedError(Exception):
    """The server ended, or was not ready in time; holds what it wrote since its start."""


@dataclass
class Server:
    """A running child of ours."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> int | None:
        return self.process.poll()

    def said(self) -> str:
        """The last 4 kB of what it wrote since this start."""
        with suppress(OSError), self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, end - 4096))
            return file.read().decode("utf-8", "replace")
        return ""

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask, wait, then insist. Does nothing to a server that is already gone."""
        self.ask_to_stop()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    name: str,
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    environment: Mapping[str, str],
    directory: Path = Path("/"),
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals = signal.SIGKILL,
    stdin: bytes = b"",
) -> Server:
    """Start a child in its own session, so that Ctrl-C reaches the launcher alone, which then stops all in order.

    When we are killed, the kernel sends the child `death_signal`. A gentler one than SIGKILL helps few: all get
    theirs at once, and a worker that then asks the queue how to stop finds the queue gone and waits for it.

    Call from the main thread: the kernel ends the child when the *thread* that started it ends.
    """
    with suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        log_start = output.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_die_with_parent(death_signal),
        )
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(stdin)
    return Server(name, process, log, log_start, stop_signal)


def wait_until(ready: Callable[[], bool], server: Server, seconds: float) -> None:
    """Poll until ready; raises EndedError when the server ends first or the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise EndedError(server.said())
        time.sleep(0.02)


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def in_the_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return in_the_child
