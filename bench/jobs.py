"""Jobs from the click to the process, and from its end to the page: a whole portal, a LOCAL cluster, real processes."""

from __future__ import annotations

import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx

from bench import stand
from bench.measure import Measurement
from portal.clouds.local.releases import Releases
from portal.demo.browser import Browser, Form

REPEATS = 40
WARM_UP = 3
COALESCE_SECONDS = 0.15
"""What changes again so soon after a refresh is refreshed together (``refresh`` in portal.js)."""

START = """\
import time
began = time.time()
import sys
open(sys.argv[1], "w").write(repr(began))
"""
END = """\
import sys, time
time.sleep(float(sys.argv[2]))
open(sys.argv[1], "w").write(repr(time.time()))
"""


def start_latency() -> Measurement:
    """From sending the form to the first act of the job's program. The floor is the same program, spawned bare."""
    with _bench("start.py", START) as bench:
        values = []
        for index in range(WARM_UP + REPEATS):
            mark = bench.folder / f"start-{index}"
            form = bench.form(f"Start {index}", mark.name)
            clicked = time.time()
            form.submit()
            stand.wait_for(lambda mark=mark: _read(mark))  # type: ignore[misc]
            values.append((_read(mark) - clicked) * 1000)
            bench.rest()
        floors = []
        for index in range(REPEATS):
            mark = bench.folder / f"bare-{index}"
            began = time.time()
            subprocess.run([bench.python, "start.py", mark.name], cwd=bench.folder, check=True)
            floors.append((_read(mark) - began) * 1000)
        return Measurement(values[WARM_UP:], floors, [bench.release])


def end_to_page() -> Measurement:
    """From the last act of the job's program until the run's page, as its script keeps it fresh, says SUCCEEDED.

    The floor is the end of the same program, spawned bare and waited for, and one request for the page.
    """
    with _bench("end.py", END) as bench, _stream(bench) as news:
        values = []
        for index in range(WARM_UP + REPEATS):
            mark = bench.folder / f"end-{index}"
            page = bench.form(f"End {index}", f"{mark.name} {random.uniform(0.6, 1.0)}").submit().address
            seen = _follow(bench, page, news)
            values.append((seen - _read(mark)) * 1000)
            bench.rest()
        floors = []
        for index in range(REPEATS):
            mark = bench.folder / f"bare-{index}"
            subprocess.run([bench.python, "end.py", mark.name, "0.05"], cwd=bench.folder, check=True)
            bench.browser.client.get(f"{page}live/")
            floors.append((time.time() - _read(mark)) * 1000)
        return Measurement(values[WARM_UP:], floors, [bench.release])


@dataclass
class _Bench:
    browser: Browser
    workspace: UUID
    cluster: UUID
    folder: Path
    python: str
    release: str
    file: str

    def form(self, name: str, arguments: str) -> Form:
        """The form of a run, filled in."""
        asked = urlencode({"name": name, "file": self.file, "step": "advanced"})
        form = self.browser.get(f"/w/{self.workspace}/jobs/new/?{asked}").form("Run job")
        form["Arguments"] = arguments
        return form

    def rest(self) -> None:
        """Until the cluster is free again; then a moment more, so as not to walk in step with anything periodic."""
        from clusters.models import Cluster

        stand.wait_for(lambda: Cluster.objects.filter(pk=self.cluster, busy_with=None, due_at=None).exists())
        time.sleep(random.uniform(0.1, 0.4))


@contextmanager
def _bench(file: str, code: str) -> Iterator[_Bench]:
    """A portal with a user signed in and a warm cluster of one core, and a job file in its workspace."""
    with stand.directory() as path:
        home = path / "home"
        home.mkdir()
        release, version, note = _release(home / "machine" / "releases")
        capacity = {"PORTAL_LOCAL_CAPACITY": "4"}
        with stand.portal(home, **capacity) as portal, stand.django_of(portal, **capacity):
            from clusters import services as clusters
            from clusters.services import ACTIONS
            from tests.factories import PASSWORD, actor, make_organization, make_user
            from workspaces import services as workspaces

            alice = make_user("alice")
            organization = make_organization(alice)
            configuration = workspaces.create_local_configuration(
                actor=actor(alice), organization=organization, name="This machine", directory=""
            )
            workspace = workspaces.create_workspace(
                actor=actor(alice),
                organization=organization,
                name="Bench",
                cloud_configuration=configuration,
                region="local",
            )
            stand.wait_for(lambda: _status(workspace) == "READY")
            cluster = clusters.create_cluster(
                actor=actor(alice),
                workspace=workspace,
                name="Warm",
                instance_type="local.1x",
                instances=1,
                release=version,
            )
            try:
                stand.wait_for(lambda: _status(cluster) == "RUNNING")
                workspaces.save_file(actor=actor(alice), workspace=workspace, path=file, chunks=iter([code.encode()]))
                browser = Browser(portal.address)
                form = browser.get(stand.SIGN_IN).form("Sign in")
                form["Email"], form["Password"] = alice.email, PASSWORD
                form.submit()
                folder = Path(configuration.settings["directory"]) / "workspaces" / str(workspace.pk) / "bodofs"
                yield _Bench(browser, workspace.pk, cluster.pk, folder, f"{release}/bin/python", note, file)
                browser.client.close()
            finally:
                clusters.act(actor=actor(alice), cluster=cluster, action=ACTIONS["delete"])
                stand.wait_for(lambda: _status(cluster) == "TERMINATED")


def _release(releases: Path) -> tuple[Path, str, str]:
    """The newest Bodo, if it is installed in ./var, or an environment without it: the job's file imports neither."""
    releases.mkdir(parents=True)
    installed = Releases(stand.PROJECT / "var" / "machine" / "releases", sys.executable)
    version = installed.list()[0].version
    path = releases / installed.path(version).name
    if installed.installed(version):
        path.symlink_to(installed.path(version))
        return path, version, f"In the environment of {path.name}"
    from tests.clouds.local_world import RELEASE, make_release

    return make_release(releases), RELEASE, "In an empty environment, because no Bodo is installed in ./var"


@contextmanager
def _stream(bench: _Bench) -> Iterator[queue.Queue[str]]:
    """What the workspace's event stream says has changed."""
    news: queue.Queue[str] = queue.Queue()
    client = httpx.Client(cookies=bench.browser.client.cookies, timeout=60)

    def listen() -> None:
        with suppress(httpx.HTTPError), client.stream("GET", f"{bench.browser.address}{path}") as answer:
            for line in answer.raise_for_status().iter_lines():
                if line.startswith("data: "):
                    news.put(line.removeprefix("data: "))

    path = f"/w/{bench.workspace}/events/"
    threading.Thread(target=listen, daemon=True).start()
    if news.get(timeout=10) != "hello":
        raise RuntimeError("The event stream does not say hello.")
    try:
        yield news
    finally:
        client.close()


def _follow(bench: _Bench, page: str, news: queue.Queue[str]) -> float:
    """Refresh the run's live part as the page's script does; when it first said SUCCEEDED."""
    key = f"run-{page.rstrip('/').rpartition('/')[2]}"
    deadline = time.monotonic() + 30
    next_refresh = 0.0
    while True:
        if news.get(timeout=max(0.01, deadline - time.monotonic())) != key:
            continue
        time.sleep(max(0.0, next_refresh - time.monotonic()))
        next_refresh = time.monotonic() + COALESCE_SECONDS
        text = bench.browser.client.get(f"{page}live/").text
        seen = time.time()
        if 'data-status="SUCCEEDED"' in text:
            return seen
        if 'data-status="FAILED"' in text:
            raise RuntimeError(f"The run failed: {text}")


def _read(mark: Path) -> float:
    """The time that a job wrote down; 0 before it did."""
    try:
        return float(mark.read_text() or 0)
    except FileNotFoundError:
        return 0.0


def _status(row: Any) -> str:
    row.refresh_from_db()
    if row.status == "FAILED":
        raise RuntimeError(f"{row} failed: {row.failure_message}")
    return str(row.status)
