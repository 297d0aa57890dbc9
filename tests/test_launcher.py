"""`make run` and its siblings, as a person meets them: through the command line."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from portal import launcher
from portal.embedded import Home


def command(home: Path, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portal.launcher", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PORTAL_HOME": str(home)}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Portal:
    """A portal started with `run`, and what it has written so far."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.output = home.with_suffix(".out")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "portal.launcher", "run", "--port", str(self.port)],
                env=environment(home),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        assert eventually(lambda: "runs at" in self.said() or self.process.poll() is not None, 90)
        assert "runs at" in self.said(), self.said()

    def said(self) -> str:
        return self.output.read_text()

    def child(self, part: str) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if part in " ".join(child.cmdline()))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    portal = Portal(tmp_path_factory.mktemp("launcher") / "var")
    yield portal
    portal.process.terminate()
    portal.process.wait(30)


def test_run_reports_the_address_and_answers(portal: Portal) -> None:
    assert f"Bodo Cloud Platform runs at http://127.0.0.1:{portal.port}" in portal.said()
    assert "make stop" in portal.said()
    assert answers(portal.port)


def test_a_second_run_names_the_first(portal: Portal) -> None:
    second = command(portal.home, "run", "--port", str(free_port()))
    assert second.returncode == 1
    assert second.stderr.startswith(
        f"The portal already runs at http://127.0.0.1:{portal.port} (process {portal.process.pid})."
    )
    assert "Traceback" not in second.stderr


def test_status_names_address_and_processes(portal: Portal) -> None:
    report = command(portal.home, "status")
    assert report.returncode == 0
    assert f"runs at http://127.0.0.1:{portal.port} (process {portal.process.pid}) and answers" in report.stdout
    for name in ("postgres", "valkey", "web", "worker", "scheduler"):
        assert re.search(rf"MB  {name}$", report.stdout, re.MULTILINE), report.stdout


@pytest.mark.parametrize("part", ["scheduler", "uvicorn", "bin/postgres"])
def test_a_killed_child_is_started_again(portal: Portal, part: str) -> None:
    killed = portal.child(part)
    killed.kill()

    def is_back() -> bool:
        with suppress(StopIteration, psutil.Error):
            return portal.child(part).pid != killed.pid and answers(portal.port)
        return False

    assert eventually(is_back), portal.said()
    assert "ended (killed by SIGKILL); starting it again" in portal.said()


def test_stop_from_another_terminal_leaves_nothing_behind(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "var")
    family = portal.family()
    assert len(family) >= 6
    began = time.monotonic()
    stopped = command(portal.home, "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Stopped.\n")
    assert time.monotonic() - began < 10
    assert portal.process.wait(5) == 0
    assert not [process for process in family if process.is_running()]
    assert not (Home(portal.home).run_directory / "launcher.json").exists()
    assert command(portal.home, "stop").stdout == "The portal does not run.\n"


def test_run_again_after_the_launcher_was_killed(tmp_path: Path) -> None:
    first = Portal(tmp_path / "var")
    family = first.family()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert eventually(lambda: not any(process.is_running() for process in family)), family
    second = Portal(tmp_path / "var")
    assert answers(second.port)
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(15) == 0
    assert second.said().endswith("Stopped.\n")


def test_a_taken_port_is_said_with_a_way_out(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = command(tmp_path / "var", "run", "--port", str(port))
    assert result.returncode == 1
    assert re.fullmatch(rf"Port {port} is taken by another program\. .*`make run PORT=\d+`\.\n", result.stderr)
    assert not (tmp_path / "var" / "postgres").exists()


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_is_a_port(tmp_path: Path, port: str) -> None:
    assert "a port is a number from 1 to 65535" in command(tmp_path / "var", "run", "--port", port).stderr


def test_nothing_runs_in_an_unused_home(tmp_path: Path) -> None:
    report = command(tmp_path / "var", "status")
    assert (report.returncode, report.stdout) == (1, "The portal does not run. Start it with `make run`.\n")
    assert not (tmp_path / "var").exists()


def test_stop_spares_a_process_that_took_over_the_number(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    with home.lock(), subprocess.Popen(["sleep", "60"]) as other:
        (home.run_directory / "launcher.json").write_text(json.dumps({"pid": other.pid, "address": "http://x:1"}))
        result = command(home.path, "stop")
        assert result.returncode == 1
        assert "Another command is using" in result.stderr
        assert other.poll() is None
        other.kill()


def test_with_services_gives_a_database_and_passes_the_exit_status_on(tmp_path: Path) -> None:
    program = (
        "import os, psycopg; from portal.embedded import *; home = Home.from_environment();"
        "psycopg.connect(database_url(home)).close(); print(home.path); raise SystemExit(7)"
    )
    result = command(tmp_path, "with-services", "--", sys.executable, "-c", program)
    assert result.returncode == 7, result.stderr
    assert not Path(result.stdout.strip()).exists()


def test_with_services_names_a_command_that_is_not_there(tmp_path: Path) -> None:
    result = command(tmp_path, "with-services", "--home", str(tmp_path / "var"), "--", "no-such-command")
    assert (result.returncode, result.stderr) == (1, "Cannot run no-such-command: No such file or directory.\n")


def test_proxy_headers_count_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert "--no-proxy-headers" in launcher._uvicorn_arguments(8000)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    assert "--no-proxy-headers" not in launcher._uvicorn_arguments(8000)
