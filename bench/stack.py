"""The stack of ``make run`` as a whole: its memory at rest, and how soon it serves."""

from __future__ import annotations

import time
from collections import Counter

import psutil

from bench import stand
from bench.measure import Measurement
from portal import embedded
from portal.demo.browser import Browser

MEGABYTE = 1e6
SETTLE_SECONDS = 15.0
SAMPLES = 10
BOOTS = 3


def idle_memory() -> Measurement:
    """Memory of every process of a portal that has served its pages and rests, with none counted twice (PSS).

    The floor is PostgreSQL and Valkey alone, started in the same way.
    """
    values, resident = [], []
    parts: Counter[str] = Counter()
    with stand.directory() as path:
        with stand.portal(path / "home") as portal:
            browser = Browser(portal.address)
            for page in (stand.SIGN_IN, "/accounts/signup/", stand.SIGN_IN):
                browser.get(page)
            browser.client.close()
            time.sleep(SETTLE_SECONDS)
            for _ in range(SAMPLES):
                family = portal.family()
                sizes = [(process, process.memory_full_info()) for process in family]
                values.append(sum(size.pss for _, size in sizes) / MEGABYTE)
                resident.append(sum(size.rss for _, size in sizes) / MEGABYTE)
                parts = Counter()
                for process, size in sizes:
                    parts[_name(process)] += round(size.pss / MEGABYTE)
                time.sleep(0.3)
        home = embedded.Home(path / "bare")
        with embedded.services(home):
            time.sleep(2)
            bare = [child for child in psutil.Process().children(recursive=True) if child.name() != "psql"]
            floor = sum(child.memory_full_info().pss for child in bare) / MEGABYTE
    notes = [
        f"PSS by part, in MB: {', '.join(f'{name} {size}' for name, size in parts.most_common())}",
        f"{len(family)} processes; the sum of their RSS, which counts shared pages again for each process, is "
        f"{max(resident):.0f} MB",
    ]
    return Measurement(values, [floor], notes)


def boot_to_first_page() -> Measurement:
    """From the command to the sign-in page in a fresh home, which makes and migrates the database.

    The floor is making the database and starting both servers, and nothing else.
    """
    fresh, warm, floors = [], [], []
    for _ in range(BOOTS):
        with stand.directory() as path:
            with stand.portal(path / "home") as portal:
                fresh.append(portal.boot_seconds)
            with stand.portal(path / "home") as portal:
                warm.append(portal.boot_seconds)
            began = time.monotonic()
            with embedded.services(embedded.Home(path / "bare")):
                floors.append(time.monotonic() - began)
    again = ", ".join(f"{seconds:.2f}" for seconds in warm)
    return Measurement(fresh, floors, [f"Starting again in the same home took {again} s"])


def _name(process: psutil.Process) -> str:
    command = " ".join(process.cmdline()) or process.name()
    known = {
        "uvicorn": "web",
        "manage.py worker": "workers",
        "manage.py scheduler": "scheduler",
        "portal.launcher": "launcher",
        "valkey": "Valkey",
        "postgres": "PostgreSQL",
    }
    return next((name for part, name in known.items() if part in command), process.name())
