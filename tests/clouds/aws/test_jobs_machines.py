"""Jobs over several machines of a cluster, and machines that are lost under them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.clouds.base import ExitReason, LaunchMode
from tests.clouds.aws import shim_ssm
from tests.clouds.aws.cloud import Aws
from tests.clouds.aws.jobs_world import JobsWorld, new_jobs_world
from tests.clouds.local_world import fill_release

WAIT = "import time\nprint('going', flush=True)\nwhile True: time.sleep(1)"
SSH = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
echo "$1" >> "$(dirname "$0")/asked"
shift
exec "$@"
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release") / "bodo"
    fill_release(directory)
    return directory


@pytest.fixture
def pair(aws: Aws, tmp_path: Path, release: Path) -> Iterator[JobsWorld]:
    """A cluster of two machines, which reach each other by ssh."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    world = new_jobs_world(aws, tmp_path, release, machines=2, cancel_seconds=0.2)
    for machine in world.machines:
        machine.environment["PATH"] = f"{tmp_path / 'bin'}:{machine.environment['PATH']}"
    yield world
    world.kill()


def test_several_machines(pair: JobsWorld, tmp_path: Path) -> None:
    """The same code, results and hosts on all; what a run leaves on another machine is swept; a lost one ends it."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith(('PORTAL', 'HYDRA'))))"
    ref = pair.start(code, mode=LaunchMode.SPMD, workers=2, bundle=str(bundle))
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={"PORTAL_RUN": ref["run"]}, start_new_session=True
    )
    assert pair.end(ref).code == 0
    assert stray.wait(10) == -signal.SIGKILL
    place = pair.bodofs / ".portal" / "runs" / ref["run"]
    assert f"('HYDRA_HOST_FILE', '{pair.head.root}/home/hostfile')" in pair.output(ref)
    assert f"('PORTAL_BUNDLE', '{place}/bundle')" in pair.output(ref)
    assert f"('PORTAL_OUTPUT', '{place}/output')" in pair.output(ref)
    assert not place.exists()
    assert (tmp_path / "bin" / "asked").read_text() == "10.0.0.2\n"

    cancelled = pair.going(WAIT)
    pair.commands.clear()
    pair.cloud.stop(pair.handle, cancelled)
    assert pair.end(cancelled).reason is ExitReason.CANCELLED
    assert pair.commands == [f"cancel {cancelled['run']}"] * 2, "on both"

    goes = pair.going(WAIT)
    pair.terminate(pair.machines[1])
    pair.look()
    exit = pair.end(goes)
    assert (exit.reason, exit.detail) == (ExitReason.LOST, "A machine of the cluster was lost.")
    assert pair.head.processes(goes["run"]) == []


def test_a_run_is_lost_with_its_head_machine(pair: JobsWorld) -> None:
    ref = pair.going(WAIT)
    pair.terminate(pair.head)
    pair.kill()
    pair.look()
    pair.commands.clear()
    exit = pair.end(ref)
    assert (exit.reason, exit.detail) == (ExitReason.LOST, "The machine that it ran on went away.")
    assert pair.commands == [f"cancel {ref['run']}"], "on the machine that is left"
    assert pair.cloud.find({**pair.handle, "nodes": []}, ref["run"]) == ref, "whatever became of the cluster"
    pair.cloud.stop(pair.handle, ref)


def test_a_stop_reaches_the_machines_that_are_left(pair: JobsWorld) -> None:
    ref = pair.going(WAIT)
    shim_ssm.machines().silent.add(pair.machines[1].id)
    pair.cloud.stop(pair.handle, ref)
    assert pair.end(ref).reason is ExitReason.CANCELLED


def test_a_way_that_a_job_bent_is_not_gone(pair: JobsWorld) -> None:
    """The shared filesystem is the jobs' own, and the runner is root."""
    (pair.root / "elsewhere").mkdir()
    (pair.bodofs / ".portal").symlink_to(pair.root / "elsewhere")
    exit, _, stderr = pair.run("")
    assert (exit.reason, exit.code) == (ExitReason.EXITED, 127)
    assert "leads elsewhere" in stderr
    assert list((pair.root / "elsewhere").iterdir()) == []
