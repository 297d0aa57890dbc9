"""A whole portal with a warm LOCAL cluster of one core, on which benchmarks run jobs as real processes."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from bench import stand
from portal.clouds.local.releases import Releases
from portal.demo.browser import Browser, Form


@dataclass
class Warm:
    """Where jobs run: a browser that is signed in, a cluster of one core, its workspace's files, and its Python."""

    portal: stand.Portal
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

    def submit(self, name: str, *arguments: str, **fields: Any) -> Any:
        """Queue a run of the file, without its form."""
        from clusters.models import Cluster
        from jobs import services
        from jobs.spec import JobSpec
        from tests.factories import actor

        cluster = Cluster.objects.select_related("workspace__organization").get(pk=self.cluster)
        spec = JobSpec(file=self.file, arguments=arguments, **fields)
        return services.submit_run(actor=actor(), workspace=cluster.workspace, name=name, spec=spec, place=cluster)

    def rest(self) -> None:
        """Until the cluster is free again; then a moment more, so as not to walk in step with anything periodic."""
        from clusters.models import Cluster

        stand.wait_for(lambda: Cluster.objects.filter(pk=self.cluster, busy_with=None, due_at=None).exists())
        time.sleep(random.uniform(0.1, 0.4))


@contextmanager
def warm_cluster(file: str, code: str) -> Iterator[Warm]:
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
            from workspaces.services_configurations import create_local_configuration

            alice = make_user("alice")
            organization = make_organization(alice)
            configuration = create_local_configuration(
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
                yield Warm(portal, browser, workspace.pk, cluster.pk, folder, f"{release}/bin/python", note, file)
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


def read_time(mark: Path) -> float:
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
