"""Jobs from the click to the process, and from its end to the page: a whole portal, a LOCAL cluster, real processes."""

from __future__ import annotations

import queue
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from bench import stand
from bench.measure import Measurement
from bench.warm import Warm, read_time, warm_cluster

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
    with warm_cluster("start.py", START) as bench:
        values = []
        for index in range(WARM_UP + REPEATS):
            mark = bench.folder / f"start-{index}"
            form = bench.form(f"Start {index}", mark.name)
            clicked = time.time()
            form.submit()
            stand.wait_for(lambda mark=mark: read_time(mark))  # type: ignore[misc]
            values.append((read_time(mark) - clicked) * 1000)
            bench.rest()
        floors = []
        for index in range(REPEATS):
            mark = bench.folder / f"bare-{index}"
            began = time.time()
            subprocess.run([bench.python, "start.py", mark.name], cwd=bench.folder, check=True)
            floors.append((read_time(mark) - began) * 1000)
        return Measurement(values[WARM_UP:], floors, [bench.release])


def end_to_page() -> Measurement:
    """From the last act of the job's program until the run's page, as its script keeps it fresh, says SUCCEEDED.

    The floor is the end of the same program, spawned bare and waited for, and one request for the page.
    """
    with warm_cluster("end.py", END) as bench, _stream(bench) as news:
        values = []
        for index in range(WARM_UP + REPEATS):
            mark = bench.folder / f"end-{index}"
            page = bench.form(f"End {index}", f"{mark.name} {random.uniform(0.6, 1.0)}").submit().address
            seen = _follow(bench, page, news)
            values.append((seen - read_time(mark)) * 1000)
            bench.rest()
        floors = []
        for index in range(REPEATS):
            mark = bench.folder / f"bare-{index}"
            subprocess.run([bench.python, "end.py", mark.name, "0.05"], cwd=bench.folder, check=True)
            bench.browser.client.get(f"{page}live/")
            floors.append((time.time() - read_time(mark)) * 1000)
        return Measurement(values[WARM_UP:], floors, [bench.release])


@contextmanager
def _stream(bench: Warm) -> Iterator[queue.Queue[str]]:
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


def _follow(bench: Warm, page: str, news: queue.Queue[str]) -> float:
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
