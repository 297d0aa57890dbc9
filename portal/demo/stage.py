"""The portal that the demo runs on: in a home of its own, beside whatever else runs here."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from portal import launcher
from portal.clouds.local import kernel
from portal.clouds.local.steps import AGENT
from portal.embedded.home import Home, StartError
from portal.embedded.servers import Server, spawn

START_SECONDS = 120.0
STOP_SECONDS = 30.0
_PROJECT = Path(__file__).resolve().parents[2]

# The demo is about this machine: a real portal's database, mail server or addresses are not for it.
_NOT_OURS = (
    *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SITE_URL", "ALLOWED_HOSTS", "CSRF_", "SECURE_", "BEHIND_TLS_PROXY"),
    *("FORWARDED_ALLOW_IPS", "EMAIL_", "DEFAULT_FROM_EMAIL", "PORTAL_", "DJANGO_SETTINGS_MODULE"),
)


class Stage:
    """A portal in ``<PORTAL_HOME>/demo``, with the machine's Bodo releases and cores shared with ``<PORTAL_HOME>``."""

    def __init__(self, port: int | None) -> None:
        base = Home.from_environment()
        self.home = Home(base.path / "demo")
        self.machine = Path(os.environ.get("PORTAL_MACHINE_ROOT") or base.path / "machine").resolve()
        self.is_new = not self.home.database_directory.exists()
        self.port = port or launcher.free_port(8000)
        self.address = f"http://{launcher.HOST}:{self.port}"
        self.server: Server | None = None
        self._log_starts: dict[Path, int] = {}

    @property
    def place(self) -> str:
        """The home, as short as it can be written from here."""
        here = Path.cwd()
        return str(self.home.path.relative_to(here) if self.home.path.is_relative_to(here) else self.home.path)

    def start(self) -> None:
        """Start all of it. Raises StartError with the launcher's own sentences."""
        running = launcher.address_of(self.home)
        if running is not None:
            raise StartError(f"A demo already runs at {running}. Stop it with Ctrl-C in its terminal first.")
        self.home.prepare()
        killed = self.end_instances()  # of a demo that was killed: they hold cores
        self._log_starts = {log: log.stat().st_size for log in self.home.log_directory.glob("*.log")}
        self.server = spawn(
            "demo",
            [sys.executable, "-m", "portal.launcher", "run", "--port", str(self.port)],
            log=self.home.log_directory / "launcher.log",
            environment=self._environment(),
            directory=_PROJECT,
        )
        deadline = time.monotonic() + START_SECONDS
        while f"runs at {self.address}" not in self.server.said():
            if self.server.poll() is not None or time.monotonic() > deadline:
                said = self.server.said().strip() or "The launcher said nothing."
                raise StartError(said.replace("make run", "make demo"))
            time.sleep(0.05)
        while killed and self._holds_cores() and time.monotonic() < deadline:
            time.sleep(0.05)  # the portal notices that its machines are gone, and gives their cores back

    def stop(self) -> None:
        """Stop the portal, and what a demo that failed could not remove through the pages."""
        if self.server is not None:
            self.server.stop(STOP_SECONDS)
            self.end_instances()

    def remove(self) -> None:
        """Remove the home, if there was no portal in it before."""
        if self.is_new:
            shutil.rmtree(self.home.path)

    def end_instances(self) -> int:
        """End the node agents below this home, as machines that are switched off, and return how many there were."""
        agents = [process for process in psutil.process_iter() if self._is_agent(process)]
        for process in agents:
            with suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(agents, timeout=10)[1]:
            with suppress(psutil.Error):
                process.kill()
        return len(agents)

    def left_over(self) -> list[str]:
        """The processes that still have something to do with this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if f"{self.home.path}/" in command or _home_of(process) == str(self.home.path):
                    found.append(f"{process.pid} {command[:150]}")
        return found

    def said(self, lines: int = 12) -> dict[str, list[str]]:
        """The last lines that each of the portal's processes wrote since the start; only of those that wrote any."""
        ends = {}
        for log in sorted(self.home.log_directory.glob("*.log")):
            with suppress(OSError), log.open("rb") as file:
                file.seek(self._log_starts.get(log, 0))
                found = file.read().decode(errors="replace").splitlines()
                ends[str(log)] = found[-lines:]
        return {log: found for log, found in ends.items() if found}

    def _holds_cores(self) -> bool:
        reservations = (kernel.get(path) or {} for path in (self.machine / "instances").glob("*.json"))
        return any(str(each.get("directory")).startswith(f"{self.home.path}/") for each in reservations)

    def _is_agent(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            command = process.cmdline()
            return str(AGENT) in command and any(part.startswith(f"{self.home.path}/") for part in command)
        return False

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        cores = len(os.sched_getaffinity(0))
        shared = os.environ.get("PORTAL_LOCAL_CAPACITY", "1" if cores >= 2 else "2")  # two instances share one core
        return {
            **kept,
            "PORTAL_HOME": str(self.home.path),
            "PORTAL_MACHINE_ROOT": str(self.machine),
            "PORTAL_LOCAL_CAPACITY": shared,
            "PORTAL_NOTEBOOK_AT_ENTRY": "off",  # it would be installed beside Bodo, and slow it down
        }


def _home_of(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        return process.environ().get("PORTAL_HOME")
    return None
