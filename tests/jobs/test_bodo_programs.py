"""Queries and notebooks on real Bodo, from the submission to what the page of the run shows."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clusters import services as clusters
from clusters.models import Cluster, ClusterStatus
from jobs import reading, reconcile
from jobs.models import Run, RunAttempt
from jobs.spec import CodeType, Source, SourceType
from portal.clouds.base import LogStream, WorkspaceSpec
from portal.clouds.local.provider import LocalCloud
from tests.clouds.bodo import take_turn
from tests.clouds.local_world import World, processes_of
from tests.factories import actor, make_catalog, make_organization, make_workspace
from tests.fakes import Workers
from tests.jobs.flow import act, cancel, submit

pytestmark = pytest.mark.bodo

INLINE = {"code_type": CodeType.SQL, "source": Source(SourceType.SQL), "file": ""}

TABLES = """
import pandas
from pathlib import Path
Path("sales/orders").mkdir(parents=True)
pandas.DataFrame({"id": [1, 2, 3], "name": ["Ann", "Bob", "O'Neil"]}).to_parquet("sales/customers.parquet")
for part in range(3):
    rows = range(part * 1000, part * 1000 + 1000)
    frame = pandas.DataFrame({"customer": [1 + row % 3 for row in rows], "price": [row / 2 for row in rows]})
    frame.to_parquet(f"sales/orders/part-{part}.parquet")
"""

NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Orders"},
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]},
            "source": "top = 1",
            "outputs": [],
            "execution_count": None,
        },
        {
            "cell_type": "code",
            "metadata": {},
            "source": "import bodo.pandas as pd\n"
            "from bodo.spawn.spawner import get_num_workers\n"
            "orders = pd.read_parquet('sales/orders')\n"
            "print('workers', get_num_workers(), 'rows', len(orders))\n"
            "100 // top",
            "outputs": [],
            "execution_count": None,
        },
        {
            "cell_type": "code",
            "metadata": {},
            "source": "import matplotlib.pyplot as plt\nplt.plot([1, top]);",
            "outputs": [],
            "execution_count": None,
        },
    ],
}


class Site:
    """A cluster of two workers on this machine, its workspace's files, and the portal's workers."""

    def __init__(self, world: World, cluster: Cluster, workers: Workers) -> None:
        self.world, self.cluster, self.workers = world, cluster, workers

    def until(self, done: Callable[[], Any], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            failure = Cluster.objects.get(pk=self.cluster.pk).failure_message
            assert not failure, failure
            assert time.monotonic() < deadline, "it did not happen in time"
            self.workers.work(seconds=1)
            time.sleep(0.1)

    def run(self, **job: Any) -> Run:
        """Submit a job and follow it to its end."""
        run = submit(self.cluster, **{"arguments": [], **job})
        self.until(lambda: Run.objects.get(pk=run.pk).ended)
        run.refresh_from_db()
        return run

    def attempt(self, run: Run) -> RunAttempt:
        found = RunAttempt.objects.of(run).first()
        assert found is not None
        return found

    def log(self, run: Run, stream: LogStream = LogStream.STDOUT) -> str:
        return reading.Log(run.workspace, run, self.attempt(run), stream).read(0, 1 << 20).data.decode()

    def outputs(self, run: Run) -> list[str]:
        return sorted(entry.path for entry in reading.outputs(run.workspace, self.attempt(run)))

    def notebook(self, run: Run) -> Any:
        """The copy with what the cells gave."""
        with reading.files_of(run.workspace, self.attempt(run)).open(run.file) as file:
            return json.load(file)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A workspace with tables on a machine of two cores."""
    root = tmp_path_factory.mktemp("programs")
    with take_turn() as kept:
        cloud = LocalCloud(root, kept, 2 / len(os.sched_getaffinity(0)), sys.executable)
        world = World(cloud, WorkspaceSpec(str(uuid.uuid4()), "w", "local"))
        world.deploy()
        yield world
        assert processes_of(root) == []


@pytest.fixture
def site(world: World, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("workspaces.clouds._local", lambda *_: world.cloud)
    workspace = make_workspace(make_organization(), id=world.workspace.id, handle=world.workspace_handle)
    cluster = clusters.create_cluster(
        actor=actor(), workspace=workspace, name="c", instance_type="local.2x", instances=1, release="2026.10"
    )
    workers.periodic.append(reconcile.poll_runs)
    site = Site(world, cluster, workers)
    site.until(lambda: Cluster.objects.get(pk=cluster.pk).status == ClusterStatus.RUNNING, 900)
    if not (world.bodofs / "sales").exists():
        (world.bodofs / "tables.py").write_text(TABLES)
        assert site.run(file="tables.py").status == "SUCCEEDED"
    yield site
    workers.do(lambda: act(cluster, "delete"))
    site.until(lambda: Cluster.objects.get(pk=cluster.pk).status == ClusterStatus.TERMINATED)


def test_a_query_over_the_files_of_a_catalog_with_parameters(site: Site) -> None:
    catalog = make_catalog(site.cluster.workspace, name="shop", settings={"directory": "sales"})
    query = """
        select name, count(*) as orders, sum(price) as total
        from orders join customers on customers.id = orders.customer
        where name = @who and price >= @least
        group by name
    """
    run = site.run(**INLINE, sql=query, catalog=catalog, parameters={"who": "O'Neil", "least": 1000})
    assert (run.status, site.log(run, LogStream.STDERR)) == ("SUCCEEDED", "")
    assert site.log(run).startswith("1 row, ")
    found = reading.result(run.workspace, site.attempt(run))
    assert found is not None
    assert found.columns == [("name", "VARCHAR"), ("orders", "BIGINT"), ("total", "DOUBLE")]
    prices = [row / 2 for part in range(3) for row in range(part * 1000, part * 1000 + 1000) if row % 3 == 2]
    prices = [price for price in prices if price >= 1000]
    assert (found.rows, found.preview) == (1, [["O'Neil", len(prices), sum(prices)]])
    assert site.outputs(run) == ["preview.json", "result.json", "result/part-00000.parquet"]
    with reading.files_of(run.workspace, site.attempt(run)).open("result/part-00000.parquet") as file:
        assert file.read(4) == b"PAR1"


@pytest.mark.parametrize(
    ("query", "told", "marked"),
    [
        (
            "select * from sales.nothing",
            "Object 'sales' not found\nTables of this catalog: sales, sales.customers, sales.orders.",
            "^^^^^",
        ),
        ("select id, name as id from sales.customers", "Two columns are called id. Give each its own name", ""),
    ],
    ids=["no table", "a name twice"],
)
def test_a_query_that_fails_says_why(site: Site, query: str, told: str, marked: str) -> None:
    run = site.run(**INLINE, sql=query)
    assert (run.status, run.get_reason_display(), run.exit_code) == ("FAILED", "NonZeroExitCode", 1)
    assert told in run.detail
    assert not marked or marked not in run.detail
    errors = site.log(run, LogStream.STDERR)
    assert told in errors
    assert marked in errors
    assert "Traceback" not in errors
    assert site.outputs(run) == []


def test_a_notebook_is_executed_on_all_workers_and_kept(site: Site) -> None:
    (site.world.bodofs / "orders.ipynb").write_text(json.dumps(NOTEBOOK))
    run = site.run(code_type=CodeType.IPYNB, file="orders.ipynb", arguments=["top=25"])
    assert run.status == "SUCCEEDED", site.log(run, LogStream.STDERR)
    assert site.log(run).splitlines()[:2] == ["workers 2 rows 3000", "4"]
    assert site.outputs(run) == ["orders.ipynb"]
    kept = site.notebook(run)
    given = [
        "".join(cell["source"]) for cell in kept["cells"] if "injected-parameters" in cell["metadata"].get("tags", [])
    ]
    assert given == ["top = 25"]
    assert [list(output.get("data", {})) for output in kept["cells"][-1]["outputs"]] == [["image/png", "text/plain"]]
    assert json.loads((site.world.bodofs / "orders.ipynb").read_text()) == NOTEBOOK


def test_a_notebook_that_fails_says_in_which_cell(site: Site) -> None:
    (site.world.bodofs / "orders.ipynb").write_text(json.dumps(NOTEBOOK))
    run = site.run(code_type=CodeType.IPYNB, file="orders.ipynb", arguments=["top=0"])
    assert (run.status, run.get_reason_display()) == ("FAILED", "NonZeroExitCode")
    assert run.detail.startswith("Cell 3 failed: ZeroDivisionError: ")
    kept = site.notebook(run)
    assert [output["output_type"] for output in kept["cells"][3]["outputs"]] == ["stream", "error"]
    assert kept["cells"][4]["outputs"] == []


def test_a_cancelled_notebook_ends_in_silence(site: Site) -> None:
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    waiting = {**cell, "source": "import time\nprint('going', flush=True)\ntime.sleep(600)"}
    (site.world.bodofs / "long.ipynb").write_text(json.dumps({**NOTEBOOK, "cells": [waiting]}))
    run = submit(site.cluster, code_type=CodeType.IPYNB, file="long.ipynb", arguments=[])
    site.until(lambda: RunAttempt.objects.of(run) and "going" in site.log(run))
    site.workers.do(lambda: cancel(run))
    site.until(lambda: Run.objects.get(pk=run.pk).ended)
    run.refresh_from_db()
    assert (run.status, run.detail) == ("CANCELLED", "")
    assert (site.log(run), site.log(run, LogStream.STDERR)) == ("going\n", "")
    assert ["".join(output["text"]) for output in site.notebook(run)["cells"][0]["outputs"]] == ["going\n"]
