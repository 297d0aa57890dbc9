"""A worker is killed at everything that it does for a run; another one finishes it, and the program was executed
once."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from clusters.models import Cluster, Transition
from jobs import reconcile
from jobs.models import Run
from jobs.spec import NewCluster, Retry, Source, SourceType
from tests.clouds.local_world import processes_of, wait_for
from tests.kills.dying import every_death, killed_at
from tests.kills.ground import PROGRAM, Ground, check_end


def life(ground: Ground, run: Run) -> None:
    """All that a worker and a scheduler do for a run, from its nudge to its end."""
    for _ in range(run.retries + 1):
        wait_for(lambda: started(ground, run))
        wait_for(lambda: ground.exit_of(run))
        reconcile.poll_runs()
        ground.work(run)


def started(ground: Ground, run: Run) -> bool:
    """After as many looks at a source as it takes."""
    if run.status == "PENDING":
        ground.work(run)
        run.refresh_from_db()
    return run.status != "PENDING"


def life_with_cluster(ground: Ground, run: Run) -> None:
    """The same, and that of the cluster which is made for the run and removed after it."""
    cluster = Cluster.objects.get(pk=run.cluster_id)
    wait_for(lambda: worked(ground, cluster))
    life(ground, run)
    wait_for(lambda: worked(ground, cluster))


def worked(ground: Ground, row: Any) -> bool:
    """Work on a row that is due, and say whether it has come to rest."""
    ground.work(row)
    row.refresh_from_db()
    return row.due_at is None


def die(
    ground: Ground,
    make: Callable[[], Run],
    check: Callable[[Run], None],
    *,
    live: Callable[[Ground, Run], object] = life,
    deaths: int = 1,
    files: bool = True,
) -> list[str]:
    """Make run after run, with so many workers killed one place further on each time; what killed the first."""

    def one(n: int) -> str:
        run = make()
        effects = []
        for _ in range(deaths):
            effects.append(killed_at(n, lambda: None if run.ended else live(ground, run), files=files))
            ground.time_passes()
            run.refresh_from_db()
        check(ground.end(run))
        return effects[0]

    return list(every_death(one))


def test_a_run(ground: Ground) -> None:
    cluster = ground.new_cluster()
    deaths = die(ground, lambda: ground.submit(cluster), lambda run: check_end(ground, run, "SUCCEEDED"), deaths=3)
    assert {"socket.connect", "the answer to what was sent", 'UPDATE "jobs_run" SET "handle"'} <= {*deaths}
    assert deaths.count("COMMIT") == 3, "the claim, the start, the end"


def test_a_run_that_is_tried_again(ground: Ground) -> None:
    cluster = ground.new_cluster()
    retry = Retry(count=1, delay_minutes=0)
    deaths = die(
        ground,
        lambda: ground.submit(cluster, "fail once", retry=retry),
        lambda run: check_end(ground, run, "SUCCEEDED", attempts=2),
    )
    assert deaths.count("socket.connect") == 2


def test_a_run_whose_source_is_fetched(ground: Ground, server: str, settings: Settings, tmp_path: Path) -> None:
    """Also between the fetching process and its order: it has no order then, and another one is started."""
    settings.PORTAL_HOME = tmp_path / "home"
    settings.PORTAL_PRIVATE_ADDRESSES = "on"
    cluster = ground.new_cluster()
    deaths = die(
        ground,
        lambda: ground.submit(cluster, file="", source=Source(SourceType.URL, f"{server}/program.py")),
        lambda run: check_end(ground, run, "SUCCEEDED"),
        live=lambda ground, run: wait_for(lambda: started(ground, run)),
    )
    assert "subprocess.Popen" in deaths


def test_a_run_with_a_cluster_of_its_own(ground: Ground) -> None:
    wanted = NewCluster(instance_type="local.1x", instances=1, release="2026.10")

    def check(run: Run) -> None:
        cluster = Cluster.objects.get(pk=run.cluster_id)
        ground.go_on(lambda: ground.status_of(cluster) == "TERMINATED")
        check_end(ground, run, "SUCCEEDED")
        reached = Transition.objects.filter(cluster=cluster, kind="STATUS").values_list("status", flat=True)
        assert list(reached).count("RUNNING") == 1, "it is billed once"
        assert processes_of(ground.cloud.root) == []
        assert ground.cloud.capacity.held(str(cluster.pk)) == {}

    deaths = die(ground, lambda: ground.submit(wanted), check, live=life_with_cluster, files=False)
    assert "subprocess.Popen" in deaths, "its machine"
    assert deaths.count("socket.connect") >= 3, "the machine's birth, the start, the machine's end"


@pytest.fixture
def server() -> Iterator[str]:
    """Serves the program."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PROGRAM.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()
