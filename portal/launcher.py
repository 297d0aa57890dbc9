"""`make run`: every process of a portal on one machine, started, watched and stopped together.

    python -m portal.launcher run [--port 8000]     until Ctrl-C or `stop`
    python -m portal.launcher stop | status
    python -m portal.launcher with-services [--home DIR] -- COMMAND …

The launcher is the only parent. Its children die with it, even when it is killed; instances of a LOCAL cloud are
sessions of their own and live on.
"""

import argparse
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from portal import embedded
from portal.embedded.home import Home, StartError
from portal.embedded.servers import Server, spawn

HOST = "127.0.0.1"
WORKERS = 2
READY_SECONDS = 60.0
STOP_SECONDS = 5.0  # for web, workers and scheduler together; then they are killed
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
HEALTHY_SECONDS = 60.0  # after so long without a crash, the next one counts as the first
_PROJECT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m portal.launcher", description="Run, stop or look at this portal.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="start everything and stay until Ctrl-C")
    run_parser.add_argument("--port", type=_port, default=8000)
    commands.add_parser("stop", help="stop the portal that uses this PORTAL_HOME")
    commands.add_parser("status", help="say whether it runs, where, and what it uses")
    with_parser = commands.add_parser("with-services", help="run a command beside a database and a queue of its own")
    with_parser.add_argument(
        "--home", type=Path, help="keep the data here (default: a directory that is removed after)"
    )
    with_parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "run":
                return Launcher(Home.from_environment(), chosen.port).run()
            case "stop":
                return stop(Home.from_environment())
            case "status":
                return status(Home.from_environment())
            case _:
                command = chosen.rest[1:] if chosen.rest[:1] == ["--"] else chosen.rest
                if not command:
                    parser.error("with-services needs a command after --")
                return with_services(command, chosen.home)
    except StartError as error:
        say(str(error), sys.stderr)
        return 1


def say(sentence: str, stream: Any = None) -> None:
    out = stream or sys.stdout
    with suppress(BrokenPipeError):
        out.write(sentence + "\n")
        out.flush()


class StopAsked(BaseException):
    """SIGINT or SIGTERM, raised where the main thread happens to be."""


@dataclass
class Child:
    """One process that should be running, and what to do when it is not."""

    name: str
    start: Callable[[], Server]
    server: Server | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0


@dataclass
class Launcher:
    home: Home
    port: int
    children: list[Child] = field(default_factory=list)
    stopping: bool = False

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def run(self) -> int:
        """Start everything, report, and keep it running until asked to stop."""
        began = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        with ExitStack() as stack:
            try:
                stack.enter_context(self.home.lock())
            except BlockingIOError:
                raise StartError(_already_running(self.home)) from None
            stack.callback(_state_path(self.home).unlink, missing_ok=True)
            stack.callback(self._stop_all)
            try:
                self._start_all()
                say(f"\nBodo Cloud Platform runs at {self.address}  (started in {time.monotonic() - began:.1f} s)")
                say("Stop it with Ctrl-C, or from another terminal with `make stop`.")
                say(f"Data and logs are in {self.home.path}.\n")
                while True:
                    time.sleep(0.5)
                    self._restart_ended()
            except StopAsked:
                say("\nStopping …")
        say("Stopped.")
        return 0

    def _start_all(self) -> None:
        _wait_for_port(self.port, patiently=_state_path(self.home).exists())
        _write_state(self.home, self.address)
        environment = self._environment()
        if not os.environ.get("DATABASE_URL"):
            self._add("postgres", lambda: embedded.start_postgres(self.home, say=say))
        if not os.environ.get("REDIS_URL"):
            self._add("valkey", lambda: embedded.start_valkey(self.home))
        prepare = [sys.executable, "-m", "portal.prepare"]
        prepared = subprocess.run(prepare, env=environment, cwd=_PROJECT, start_new_session=True, check=False)
        if prepared.returncode:
            raise StartError("The database could not be prepared; the reason is above.")
        self._add("web", lambda: self._spawn("web", "-m", "uvicorn", *_uvicorn_arguments(self.port)))
        self._wait_for_first_page()  # before the others, which would take the machine from it just now
        for number in range(1, WORKERS + 1):
            name = f"worker-{number}"
            self._add(name, lambda name=name: self._spawn(name, "manage.py", "worker"))  # type: ignore[misc]
        self._add("scheduler", lambda: self._spawn("scheduler", "manage.py", "scheduler"))

    def _add(self, name: str, start: Callable[[], Server]) -> None:
        child = Child(name, start)
        self.children.append(child)
        child.server, child.started = start(), time.monotonic()

    def _spawn(self, name: str, *arguments: str) -> Server:
        log = self.home.log_directory / f"{name}.log"
        command = [sys.executable, *arguments]
        return spawn(name, command, log=log, environment=self._environment(), directory=_PROJECT)

    def _environment(self) -> dict[str, str]:
        return {
            "SITE_URL": self.address,
            **os.environ,
            "PORTAL_HOME": str(self.home.path),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # otherwise every thread keeps freed memory of its own
        }

    def _wait_for_first_page(self) -> None:
        web = next(child.server for child in self.children if child.name == "web")
        assert web is not None
        deadline = time.monotonic() + READY_SECONDS
        while not _is_healthy(self.port):
            if web.poll() is not None or time.monotonic() > deadline:
                what = "ended at once" if web.poll() is not None else f"did not answer within {READY_SECONDS:.0f} s"
                raise StartError(
                    f"The web process {what}. It last wrote:\n\n{web.said()[-2000:]}\nAll of it is in {web.log}."
                )
            time.sleep(0.05)

    def _restart_ended(self) -> None:
        """Start again what has ended, at once at first and with growing pauses when it keeps ending."""
        now = time.monotonic()
        for child in self.children:
            if child.server is not None and child.server.poll() is not None:
                code = child.server.poll()
                child.failures = 0 if now - child.started > HEALTHY_SECONDS else child.failures + 1
                pause = BACKOFF_SECONDS[min(child.failures, len(BACKOFF_SECONDS) - 1)]
                child.server, child.due = None, now + pause
                log = self.home.log_directory / f"{child.name}.log"
                self._note(f"{child.name} ended ({_ending(code)}); starting it again in {pause:.0f} s. See {log}.")
            if child.server is None and now >= child.due:
                try:
                    child.server, child.started = child.start(), time.monotonic()
                except StartError as error:
                    child.failures += 1
                    child.due = now + BACKOFF_SECONDS[min(child.failures, len(BACKOFF_SECONDS) - 1)]
                    self._note(str(error))

    def _note(self, sentence: str) -> None:
        say(f"{time.strftime('%H:%M:%S')} {sentence}")

    def _stop_all(self) -> None:
        """Web first, so that no request meets a missing database; the database last."""
        self.stopping = True
        running = [child.server for child in self.children if child.server is not None]
        stores = [server for server in running if server.name in ("PostgreSQL", "Valkey")]
        ours = sorted((server for server in running if server not in stores), key=_stop_rank)
        for server in ours:
            server.ask_to_stop()
        began = time.monotonic()
        asked_again = False
        while any(server.poll() is None for server in ours) and time.monotonic() - began < STOP_SECONDS:
            if not asked_again and time.monotonic() - began > STOP_SECONDS - 2:
                asked_again = True  # a second request tells a worker to give up the task in its hands
                for server in ours:
                    server.ask_to_stop()
            time.sleep(0.02)
        for server in ours:
            if server.poll() is None:
                _kill_session(server)
        for server in reversed(stores):
            server.stop(4)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            raise StopAsked


def stop(home: Home) -> int:
    """Ask the launcher of this home to stop everything, and wait until it has."""
    if not _is_locked(home):
        say("The portal does not run.")
        return 0
    process = _launcher_process(home)
    if process is None:
        raise StartError(_already_running(home))
    try:
        process.send_signal(signal.SIGTERM)
    except psutil.AccessDenied:
        raise StartError(f"The portal was started by {process.username()}; stop it from that account.") from None
    except psutil.NoSuchProcess:
        pass
    deadline = time.monotonic() + 30
    while _is_locked(home):
        if time.monotonic() > deadline:
            raise StartError(f"The portal (process {process.pid}) has not stopped in 30 s. Look at its terminal.")
        time.sleep(0.05)
    say("Stopped.")
    return 0


def status(home: Home) -> int:
    """Exit status 0 when it runs and answers, 1 when not."""
    process = _launcher_process(home) if _is_locked(home) else None
    if process is None:
        say("The portal does not run. Start it with `make run`.")
        return 1
    state = _read_state(home)
    address = str(state.get("address", ""))
    healthy = _is_healthy(int(address.rpartition(":")[2]))
    say(f"The portal runs at {address} (process {process.pid}) and {'answers' if healthy else 'does NOT answer'}.")
    for child in process.children():
        with suppress(psutil.Error):
            family = [child, *child.children(recursive=True)]
            megabytes = sum(member.memory_info().rss for member in family) / 1e6
            command = " ".join(child.cmdline())
            say(f"  {child.pid:>7}  {megabytes:6.0f} MB  {_short_name(command)}")
    say(f"Data and logs are in {home.path}.")
    return 0 if healthy else 1


def with_services(command: Sequence[str], directory: Path | None) -> int:
    """Run a command with PORTAL_HOME set and its servers running; returns the command's exit status."""
    with ExitStack() as stack:
        kept = directory is not None
        home = Home(directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-")))
        try:
            stack.enter_context(embedded.services(home, durable=kept))
        except BlockingIOError:
            raise StartError(_already_running(home)) from None
        try:
            child = subprocess.Popen(list(command))
        except OSError as error:
            raise StartError(f"Cannot run {command[0]}: {error.strerror}.") from error
        for number in (signal.SIGINT, signal.SIGTERM):  # the command decides; we only outlive it
            signal.signal(number, lambda number, _frame: child.send_signal(number) if child.poll() is None else None)
        code = child.wait()
        return code if code >= 0 else 128 - code


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def _uvicorn_arguments(port: int) -> list[str]:
    arguments = [
        *("portal.asgi:application", "--host", HOST, "--port", str(port), "--lifespan", "off"),
        *("--no-access-log", "--no-server-header", "--log-level", "warning", "--timeout-graceful-shutdown", "3"),
        # For notebooks: messages are large, and compressing them would cost each socket its own window of memory.
        *("--ws", "websockets-sansio", "--ws-max-size", str(64 << 20), "--ws-per-message-deflate", "false"),
    ]
    if "FORWARDED_ALLOW_IPS" not in os.environ:
        arguments.append("--no-proxy-headers")  # else anybody on this machine could claim any client address
    return arguments


def _wait_for_port(port: int, *, patiently: bool) -> None:
    """After a launcher was killed its web process needs a moment to let go of the port."""
    deadline = time.monotonic() + (6 if patiently else 0)
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return
            except PermissionError:
                raise StartError(
                    f"Port {port} needs rights this account does not have. Try `make run PORT=8000`."
                ) from None
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"Port {port} is taken by another program. Choose another one, for instance with "
                        f"`make run PORT={free_port(port)}`."
                    ) from error
        time.sleep(0.1)


def free_port(after: int) -> int:
    """A port above ``after`` that nobody listens on now."""
    for port in range(after + 1, min(after + 100, 65536)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    return 8001


def address_of(home: Home) -> str | None:
    """Where the portal of this home runs; None if it does not. “?” in the moment before it knows."""
    return str(_read_state(home).get("address", "?")) if _is_locked(home) else None


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        # A portal behind TLS answers plain HTTP with a redirect, which also takes a working web process.
        return connection.getresponse().status in (200, 301)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _state_path(home: Home) -> Path:
    return home.run_directory / "launcher.json"


def _write_state(home: Home, address: str) -> None:
    draft = _state_path(home).with_suffix(".new")
    draft.write_text(json.dumps({"pid": os.getpid(), "address": address}))
    draft.rename(_state_path(home))


def _read_state(home: Home) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        state = json.loads(_state_path(home).read_text())
        if isinstance(state, dict):
            return state
    return {}


def _is_locked(home: Home) -> bool:
    with suppress(FileNotFoundError), (home.run_directory / "launcher.lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _launcher_process(home: Home) -> psutil.Process | None:
    """The process that wrote the state, unless its number has passed to another program since."""
    with suppress(psutil.Error, KeyError, TypeError):
        process = psutil.Process(_read_state(home)["pid"])
        if any("launcher" in part for part in process.cmdline()):
            return process
    return None


def _already_running(home: Home) -> str:
    process, address = _launcher_process(home), _read_state(home).get("address")
    if process is None or not address:
        return f"Another command is using {home.path}. Wait for it to end, or set PORTAL_HOME to another directory."
    return (
        f"The portal already runs at {address} (process {process.pid}). Stop it with `make stop`, or start a second "
        "one with its own data: `PORTAL_HOME=… make run PORT=8001`."
    )


def _stop_rank(server: Server) -> int:
    return {"web": 0, "scheduler": 2}.get(server.name, 1)


def _kill_session(server: Server) -> None:
    """Kill a child and what it forked; what it set apart in a session of its own, such as an instance, lives on."""
    family = [server.process.pid]
    with suppress(psutil.Error):
        family += [member.pid for member in psutil.Process(server.pid).children(recursive=True)]
    for pid in family:
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == server.pid:
                os.kill(pid, signal.SIGKILL)
    server.process.wait()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _short_name(command: str) -> str:
    known = {"uvicorn": "web", "manage.py worker": "worker", "manage.py scheduler": "scheduler"}
    known |= {"valkey": "valkey", "bin/postgres": "postgres"}
    return next((name for part, name in known.items() if part in command), command[:60])


if __name__ == "__main__":
    sys.exit(main())
