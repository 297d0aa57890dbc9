"""Real Bodo on two workers, in both launch modes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from portal.clouds.base import ExitReason, Handle, LaunchMode, Target, WorkspaceSpec
from portal.clouds.local.provider import LocalCloud
from tests.clouds.bodo import take_turn
from tests.clouds.local_world import World, processes_of, wait_for

pytestmark = pytest.mark.bodo

PANDAS = """
import bodo, bodo.pandas as pd
frame = pd.DataFrame({"a": [1, 2, 3] * 100, "b": range(300)})
total = frame.groupby("a", as_index=False).b.sum()
print(sorted(pd.DataFrame(total).b.tolist()))
from bodo.spawn.spawner import get_num_workers
print("workers", get_num_workers())
"""

SQL = """
import pandas as pd, bodosql
context = bodosql.BodoSQLContext({"T": pd.DataFrame({"A": [1, 2, 3] * 10, "B": range(30)})})
print(sorted(context.sql("select A, sum(B) as S from T group by A").S.tolist()))
"""

JIT = """
import bodo, numpy as np, pandas as pd
@bodo.jit
def total(n):
    frame = pd.DataFrame({"a": np.arange(n) % 3, "b": np.ones(n)})
    return frame.groupby("a").b.sum().sum()
print(f"rank {bodo.get_rank()} of {bodo.get_size()}: {total(300)}")
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Handle]]:
    root = tmp_path_factory.mktemp("bodo")
    with take_turn() as kept:
        cloud = LocalCloud(root, kept, 2 / len(os.sched_getaffinity(0)), sys.executable)
        world = World(cloud, WorkspaceSpec("bodo", "w", "local"))
        world.deploy()
        spec = world.spec(2)
        handle = world.settle(lambda handle: cloud.advance_cluster(spec, handle, Target.RUNNING), {}, seconds=900)
        yield world, handle
        world.go(spec, Target.TERMINATED, handle)
    assert processes_of(root) == []


@pytest.mark.parametrize(
    ("code", "mode", "expected"),
    [
        (PANDAS, LaunchMode.SPAWN, ["[14850, 14950, 15050]", "workers 2"]),
        (SQL, LaunchMode.SPAWN, ["[135, 145, 155]"]),
        (JIT, LaunchMode.SPMD, ["rank 0 of 2: 300.0", "rank 1 of 2: 300.0"]),
    ],
)
def test_bodo_computes_on_two_workers(
    cluster: tuple[World, Handle], code: str, mode: LaunchMode, expected: list[str]
) -> None:
    world, handle = cluster
    ref = world.cloud.start(handle, world.process(code, mode=mode, workers=2, timeout=200.0))
    exit = world.end(ref, seconds=240)
    assert exit.code == 0, world.output(handle, ref)
    assert sorted(world.output(handle, ref).splitlines()) == expected


KILLED_RANK = """
from mpi4py import MPI
import os
if MPI.COMM_WORLD.rank: os.kill(os.getpid(), 9)
MPI.COMM_WORLD.barrier()
"""

ALONE = """
from mpi4py import MPI
if MPI.COMM_WORLD.rank: 1 / 0
MPI.COMM_WORLD.barrier()
"""

KILLED_WORKER = """
import os, bodo
from bodo.spawn.spawner import submit_func_to_workers
submit_func_to_workers(lambda: bodo.get_rank() == 1 and os.kill(os.getpid(), 11), [])
"""


@pytest.mark.parametrize(
    ("program", "mode", "expected"),
    [
        (KILLED_RANK, LaunchMode.SPMD, (None, 9, "Rank 1 of 2 was ended by signal 9 (SIGKILL: Killed).")),
        (ALONE, LaunchMode.SPMD, (1, None, "Rank 1 ended all ranks with code 1.")),
        (KILLED_WORKER, LaunchMode.SPAWN, (None, 9, "crashed or was killed, and the program with it.")),
    ],
    ids=["killed rank", "failed rank", "crashed worker"],
)
def test_a_rank_that_fails_is_named(
    cluster: tuple[World, Handle], program: str, mode: LaunchMode, expected: tuple[int | None, int | None, str]
) -> None:
    world, handle = cluster
    ref = world.cloud.start(handle, world.process(program, mode=mode, workers=2, timeout=100.0))
    exit = world.end(ref, seconds=120)
    code, number, detail = expected
    assert (exit.reason, exit.code, exit.signal) == (ExitReason.RANK_FAILED, code, number)
    assert exit.detail.endswith(detail)
    assert "BAD TERMINATION" not in world.output(handle, ref)


@pytest.mark.parametrize("mode", list(LaunchMode))
def test_a_cancelled_bodo_job_leaves_no_rank(cluster: tuple[World, Handle], mode: LaunchMode) -> None:
    world, handle = cluster
    code = (
        "import time, bodo, bodo.pandas\n"
        "bodo.pandas.DataFrame({'a': [1]}).a.sum() if __import__('os').environ.get('BODO_SPAWN_MODE') != '0' else 0\n"
        "print('going', flush=True)\nwhile True: time.sleep(1)"
    )
    ref = world.cloud.start(handle, world.process(code, mode=mode, workers=2, timeout=100.0))
    wait_for(lambda: "going" in world.output(handle, ref), 60)
    world.cloud.stop(handle, ref)
    assert world.end(ref).reason == "CANCELLED"
    assert len(processes_of(world.cloud.root)) == 2, "only the two agents are left"
