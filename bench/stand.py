"""What benchmarks stand on: a directory that is removed afterwards, servers or a whole portal in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from portal import embedded

PROJECT = Path(__file__).resolve().parent.parent
SIGN_IN = "/accounts/login/"
_FOREIGN = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SITE_URL", "ALLOWED_HOSTS", "PORTAL_", "EMAIL_", "DJANGO_")


@contextmanager
def directory() -> Iterator[Path]:
    """A directory on the disk that the portal itself would use: /tmp may be memory, where nothing has to be synced."""
    parent = PROJECT / "var"
    parent.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def database() -> Iterator[None]:
    """A durable database and a queue, migrated, with Django of this very process set up for them."""
    with directory() as path, embedded.services(embedded.Home(path)):
        (path / "static").mkdir()
        _set_up_django({"PORTAL_HOME": str(path)})
        from django.core.management import call_command

        call_command("migrate", interactive=False, verbosity=0)
        try:
            yield
        finally:
            _disconnect()


@dataclass
class Portal:
    """A portal as ``make run`` starts it."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    boot_seconds: float

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def family(self) -> list[psutil.Process]:
        """The launcher and all that it started; instances of LOCAL clusters are not among them."""
        launcher = psutil.Process(self.process.pid)
        return [launcher, *launcher.children(recursive=True)]


@contextmanager
def portal(home: Path, **environment: str) -> Iterator[Portal]:
    """The whole portal in ``home``, from its first page on. Stopped afterwards; ``home`` stays."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = home.with_suffix(".log")
    with log.open("ab") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "portal.launcher", "run", "--port", str(port)],
            cwd=PROJECT,
            env=_clean_environment() | {"PORTAL_HOME": str(home)} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - began > 120:
                raise RuntimeError(f"The portal did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield Portal(home, port, process, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.unlink(missing_ok=True)


@contextmanager
def django_of(running: Portal, **environment: str) -> Iterator[None]:
    """Django of this process, on a running portal's database: for what is not measured."""
    _set_up_django({"PORTAL_HOME": str(running.home), "SITE_URL": running.address, **environment})
    try:
        yield
    finally:
        _disconnect()


def wait_for(question: Callable[[], Any], seconds: float = 60, pause: float = 0.02) -> None:
    """Until it is true; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError("What the benchmark waits for did not happen in time.")
        time.sleep(pause)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{SIGN_IN}", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def _clean_environment() -> dict[str, str]:
    """A developer's own configuration must not change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def _set_up_django(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(_clean_environment()):
        del os.environ[name]
    os.environ |= {"DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "ERROR", **environment}
    import django

    django.setup()


def _disconnect() -> None:
    from django.db import connection

    with contextlib.suppress(Exception):
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
