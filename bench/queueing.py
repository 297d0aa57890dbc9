"""What the queue of a cluster costs: the time in which a warm cluster does nothing although runs wait for it."""

from __future__ import annotations

import statistics
import subprocess
from itertools import pairwise
from pathlib import Path

from bench import stand
from bench.measure import Measurement
from bench.warm import Warm, warm_cluster

RUNS = 100
FLOOR_RUNS = 30
NOTHING = """\
import time
began = time.time()
import os, sys
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
open(sys.argv[1], "w").write(f"{began} {time.time()}")
"""


def overhead_per_run() -> Measurement:
    """From the last act of a run's program to the first act of the next one's, of a hundred that wait.

    The floor is the same between bare processes of the same program: an interpreter that ends and one that starts.
    """
    with warm_cluster("nothing.py", NOTHING) as bench:
        bench.submit("First", "first", "go")  # has the cluster until all others wait
        for index in range(RUNS):
            bench.submit(f"Run {index}", f"run-{index}")
        (bench.folder / "go").touch()
        marks = [bench.folder / "first", *(bench.folder / f"run-{index}" for index in range(RUNS))]
        stand.wait_for(lambda: _times(marks[-1]), seconds=300)
        values = _between(marks)
        bench.rest()
        bare = [bench.folder / f"bare-{index}" for index in range(FLOOR_RUNS)]
        for mark in bare:
            subprocess.run([bench.python, "nothing.py", mark.name], cwd=bench.folder, check=True)
        return Measurement(values, _between(bare), [bench.release, _verdict(bench), _spread(values)])


def _between(marks: list[Path]) -> list[float]:
    """Milliseconds from each end to the next beginning."""
    times = [_times(mark) for mark in marks]
    return [(after[0] - before[1]) * 1000 for before, after in pairwise(times)]


def _times(mark: Path) -> list[float]:
    """When a program began and ended; nothing before it has written both."""
    try:
        return [float(word) for word in mark.read_text().split()]
    except FileNotFoundError:
        return []


def _verdict(bench: Warm) -> str:
    from jobs.models import Run

    good = Run.objects.filter(cluster=bench.cluster, status="SUCCEEDED").count()
    return f"{good} of {RUNS + 1} runs succeeded"


def _spread(values: list[float]) -> str:
    tenths = statistics.quantiles(values, n=10)
    return f"A tenth of the pauses is below {tenths[0]:.0f} ms, a tenth above {tenths[-1]:.0f}"
