"""A whole portal of its own for the browser tests: real processes, the real launcher, a light stand-in for Bodo."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

from portal import embedded
from portal.embedded.servers import EndedError, Server, spawn, wait_until
from tests.clouds.local_world import make_release, processes_of, wait_for

PROJECT = Path(__file__).resolve().parents[2]
CORES = 12
"""Cores of the stage's machine, whatever the real one has: the tests' clusters do nothing but wait."""


@dataclass
class Tenant:
    """An organization with its owner and a READY workspace, of which nothing has been seen yet."""

    organization: str
    workspace: str
    email: str
    session: str
    files: Path


@dataclass
class Stage:
    """A running portal."""

    home: Path
    address: str
    launcher: Server
    environment: dict[str, str]
    tenants: list[Tenant] = field(default_factory=list)
    museum: dict[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """The same under a host name, as passkeys need."""
        return self.address.replace("127.0.0.1", "localhost")

    def furnish(self, tenants: int, *, museum: bool = True) -> None:
        """Make tenants to take, and the museum: one with everything in it (see ``furniture``)."""
        made = subprocess.run(
            [sys.executable, "-m", "tests.browser.furniture", str(tenants), *([] if museum else ["bare"])],
            env=self.environment,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
        found = json.loads(made.stdout)
        self.tenants = [Tenant(**{**values, "files": Path(values["files"])}) for values in found["tenants"]]
        self.museum = found["museum"]

    def post(self, tenant: Tenant, path: str, form: dict[str, str], allow: Sequence[int] = (302,)) -> str:
        """Send a form as the tenant's owner, without a browser; returns the path that it leads to, if any."""
        cookies = {"sessionid": tenant.session, "csrftoken": "a" * 32}
        response = httpx.post(
            self.address + path, data={**form, "csrfmiddlewaretoken": "a" * 32}, cookies=cookies, timeout=30
        )
        assert response.status_code in allow, f"{path} answered {response.status_code}: {response.text}"
        return str(response.headers.get("location", ""))

    def kill_and_run_again(self) -> None:
        """As after a crash of everything but the instances: the launcher is killed, and its children with it."""
        children = psutil.Process(self.launcher.pid).children(recursive=True)
        os.kill(self.launcher.pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=20)
        self.launcher = _launch(self.environment, self.home)

    def mail_to(self, address: str) -> str:
        """The text of the newest mail to somebody."""

        def newest() -> str:
            for path in sorted((self.home / "mail").glob("*.log"), key=lambda file: file.stat().st_mtime, reverse=True):
                mail = message_from_bytes(path.read_bytes().partition(b"\n" + b"-" * 79)[0], policy=default)
                if address in str(mail["To"]):
                    body = mail.get_body(("plain",))
                    return str(body.get_content()) if body else ""
            return ""

        return wait_for(newest)

    def link_in_mail_to(self, address: str) -> str:
        """The first link of that mail."""
        found = re.search(r"https?://\S+", self.mail_to(address))
        assert found, "the mail holds no link"
        return found[0]

    def queue(self) -> redis.Redis:
        """Valkey itself."""
        return redis.Redis.from_url(embedded.redis_url(embedded.Home(self.home)))

    def child(self, part: str) -> psutil.Process:
        """A process of the launcher by a part of its command line."""
        children = psutil.Process(self.launcher.pid).children()
        return next(child for child in children if part in " ".join(child.cmdline()))


def _launch(environment: dict[str, str], home: Path) -> Server:
    """The launcher, once it says that the portal runs."""
    port = environment["SITE_URL"].rpartition(":")[2]
    log = home / "launcher.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "portal.launcher", "run", "--port", port]
    launcher = spawn("portal", command, log=log, environment=environment, directory=PROJECT)
    try:
        wait_until(lambda: "runs at" in log.read_text(), launcher, 90)
    except EndedError as error:
        raise AssertionError(f"The portal did not start:\n{error}") from error
    return launcher


@contextmanager
def stage(tenants: int, *, museum: bool = True, more: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Start a portal, furnish it, and leave no process and no file behind. ``more`` is what else stands in its
    environment."""
    home = Path(tempfile.mkdtemp(prefix="portal-b-"))  # short: sockets lie in it
    try:
        make_release(home / "machine" / "releases")
        port = _free_port()
        environment = {
            **os.environ,
            "PORTAL_HOME": str(home),
            "PORTAL_MACHINE_ROOT": str(home / "machine"),
            "PORTAL_PRIVATE_ADDRESSES": "on",  # a sign-on provider of a test is on this machine
            "PORTAL_LOCAL_CAPACITY": str(CORES / len(os.sched_getaffinity(0))),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PORTAL_NOTEBOOK_AT_ENTRY": "off",  # whoever enters a workspace would have JupyterLab installed
            "PORTAL_AWS_ACCOUNT": "123456789012",
            "PORTAL_AWS_TEMPLATE_URL": "https://templates.s3.us-east-1.amazonaws.com/bodo-platform.json",
            "SITE_URL": f"http://127.0.0.1:{port}",
            **(more or {}),
        }
        launcher = _launch(environment, home)
        made: Stage | None = None
        try:
            made = Stage(home, environment["SITE_URL"], launcher, environment)
            made.furnish(tenants, museum=museum)
            yield made
        finally:
            made.launcher.stop(30) if made else launcher.stop(30)
            _end_what_is_left(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _end_what_is_left(home: Path) -> None:
    """Nodes and jobs outlive their portal, as they should; not this one's."""
    deadline = time.monotonic() + 10
    while left := processes_of(home):
        assert time.monotonic() < deadline, f"{left} do not end"
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        time.sleep(0.05)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
