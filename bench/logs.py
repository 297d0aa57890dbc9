"""The page of a run that wrote a gigabyte: how soon it opens, and that nothing of it stays in the portal's memory."""

from __future__ import annotations

import psutil

from bench.lists import milliseconds
from bench.measure import Measurement
from bench.warm import Warm, warm_cluster

SIZE = 1 << 30
TAIL = 256 * 1024
"""How much of the end the page's script asks for (``LOG_TAIL`` in portal.js)."""

REPEATS = 40
WARM_UP = 5
LINES = "".join(
    f"2026-11-24 03:{index // 60 % 60:02}:{index % 60:02} \x1b[36mINFO\x1b[0m load part {index:06} of orders, "
    f"{index * 7919 % 1000003:,} rows, 0 refused, token ab\n"
    for index in range(10_000)
).encode()
SECRETS = {f"SECRET_{index}": f"a secret value of ordinary length {index}" for index in range(20)}
SAY = "print('done')\n"


def open_page() -> Measurement:
    """The page with the end of the log, and the request with which its script goes on; the run has twenty secrets.

    The floor is the same for a run that wrote one line.
    """
    with warm_cluster("say.py", SAY) as bench:
        short, long = _run(bench, "Short"), _run(bench, "Long")
        _fill(bench, long)
        times: dict[str, list[float]] = {short: [], long: []}
        before = _memory(bench)
        for turn in range(WARM_UP + REPEATS):
            for page, found in times.items():
                took = milliseconds(_open, bench, page)
                if turn >= WARM_UP:
                    found.append(took)
            if turn == WARM_UP:
                before = _memory(bench)  # all is loaded that ever will be
        opened = _memory(bench)
        matches = bench.browser.client.get(f"{long}log/search/?q=part+009999", timeout=120).json()
        searched = _memory(bench)
        size, peak = _download(bench, long)
        notes = [
            bench.release,
            f"The web process has {before:.0f} MB before, {opened:.0f} after {REPEATS} times, {searched:.0f} after a "
            f"search ({len(matches['lines'])} lines), at most {peak:.0f} during a download of {size / 1e9:.2f} GB",
        ]
        return Measurement(times[long], times[short], notes)


def _run(bench: Warm, name: str) -> str:
    """The page of a run with secrets that has ended."""
    run = bench.submit(name, environment=SECRETS)
    bench.rest()
    return str(run.get_absolute_url())


def _fill(bench: Warm, page: str) -> None:
    """Let the log be as if the run had written all that."""
    run = page.rstrip("/").rpartition("/")[2]
    [log] = bench.folder.parents[2].rglob(f"{run}/stdout.log")
    with log.open("wb") as file:
        while file.tell() < SIZE:
            file.write(LINES)


def _open(bench: Warm, page: str) -> None:
    for address, part in ((page, "Search the whole log"), (f"{page}log/?offset=-{TAIL}", "")):
        if part not in bench.browser.client.get(address).raise_for_status().text:
            raise RuntimeError(f"{address} is not a run's page")


def _download(bench: Warm, page: str) -> tuple[int, float]:
    size, peak = 0, 0.0
    with bench.browser.client.stream("GET", f"{page}log/download/", timeout=300) as answer:
        for number, block in enumerate(answer.raise_for_status().iter_raw(1 << 20)):
            size += len(block)
            if number % 20 == 0:
                peak = max(peak, _memory(bench))
    return size, peak


def _memory(bench: Warm) -> float:
    """What of the web process's memory is its own, in MB."""
    web = next(each for each in bench.portal.family() if "uvicorn" in " ".join(each.cmdline()))
    return float(psutil.Process(web.pid).memory_full_info().uss) / 1e6
