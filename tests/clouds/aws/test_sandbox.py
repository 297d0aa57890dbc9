"""``make run-aws-sandbox``, walked as somebody would who has no account: through its pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from portal.demo.browser import Browser, Page
from portal.launcher import free_port
from tests.clouds.aws.sandbox import PROJECT

SECONDS = 180


@dataclass
class Sandbox:
    """One that runs, with somebody signed in."""

    process: subprocess.Popen[bytes]
    log: Path
    home: Path
    browser: Browser

    def until(self, address: str, there: Callable[[Page], bool]) -> Page:
        """A page, once it shows what is waited for."""
        deadline = time.monotonic() + SECONDS
        while not there(page := self.browser.get(address)):
            assert time.monotonic() < deadline, page.soup.get_text(" ", strip=True)[:4000]
            time.sleep(0.5)
        return page


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    home = tmp_path_factory.mktemp("home")
    log = home / "sandbox.log"
    port = free_port(20000 + os.getpid() % 20000)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PORTAL_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.clouds.aws.sandbox", "--port", str(port)],
            cwd=PROJECT,
            env={**environment, "PORTAL_HOME": str(home)},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while "Password" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        browser = Browser(f"http://127.0.0.1:{port}")
        form = browser.get("/").click("Sign in").form("Sign in")
        for label, name in (("login", "E-mail"), ("password", "Password")):
            found = re.search(rf"{name} +(.+)", log.read_text())
            assert found
            form[label] = found[1]
        form.submit()
        yield Sandbox(process, log, home, browser)
    finally:
        children: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for child in psutil.wait_procs(children, timeout=10)[1]:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def test_it_says_what_it_is(sandbox: Sandbox) -> None:
    assert "runs no machines" in sandbox.log.read_text()


def test_the_account_is_connected_and_checked(sandbox: Sandbox) -> None:
    page = sandbox.browser.get("/").click("Configurations")
    assert "AWS (moto)" in page.soup.get_text()
    page = page.click("AWS (moto)")
    assert "READY" in page.soup.get_text()
    assert not page.soup.select(".check.failed")


def test_a_workspace_and_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    form = sandbox.browser.get("/").click("Create workspace").form("Create workspace")
    form["Name"] = "Analytics"
    address = form.submit().address
    page = sandbox.until(address, lambda page: "READY" in page.soup.get_text())
    file = tmp_path / "hello.py"
    file.write_text("print('hello')\n")
    files = page.click("Analytics")
    form = files.form("Upload")
    form["file"] = file
    form.submit()
    assert "hello.py" in sandbox.browser.get(files.address).soup.get_text()


def test_a_cluster_comes_up_and_goes(sandbox: Sandbox) -> None:
    def listed(page: Page) -> bool:
        return "c6i.large" in page.soup.get_text()

    clusters = sandbox.browser.get("/").click("Analytics").click("Clusters")
    form = sandbox.until(clusters.click("Create cluster").address, listed).form("Create cluster")
    form["Cluster name"] = "Small"
    form["Instance type"] = "c6i.large"
    page = form.submit()
    running = sandbox.until(page.address, lambda page: page.has_button("Pause"))
    running.form("Delete").submit()
    sandbox.until(clusters.address, lambda page: "Small" not in page.text("main"))
