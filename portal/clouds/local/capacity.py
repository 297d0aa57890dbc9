"""The machine's cores, shared out among the clusters of all LOCAL configurations.

One file for each cluster in ``instances/``, changed under one lock:
``{"directory": the cluster's, "nodes": {index: [core, ...]}}``. A cluster gets the cores of all its missing nodes at
once or none, so two that start together cannot both get half. What a cluster holds counts for as long as its directory
is there.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from portal.clouds.base import CloudError
from portal.clouds.local import kernel

SHARE_OF_MEMORY = 0.8
"""What instances may have together; the rest is the portal's and the system's."""


class Capacity:
    """The registry of reservations on this machine."""

    def __init__(self, directory: Path, factor: float) -> None:
        self.directory = directory
        self.factor = factor

    @property
    def cores(self) -> int:
        """How many cores instances may have together."""
        return max(1, round(len(os.sched_getaffinity(0)) * self.factor - 0.499999))

    @property
    def memory_per_core(self) -> int:
        """MiB of memory that come with each core."""
        return int(machine_memory() * SHARE_OF_MEMORY / max(self.cores, len(os.sched_getaffinity(0))))

    def held(self, cluster: str) -> dict[int, list[int]]:
        """The cores of each node of a cluster."""
        content = kernel.get(self.directory / f"{cluster}.json") or {"nodes": {}}
        return {int(index): cores for index, cores in content["nodes"].items()}

    def free(self) -> int:
        """How many cores nobody has."""
        with self._locked():
            return self.cores - sum(self._used().values())

    def reserve(self, cluster: str, directory: Path, wanted: Mapping[int, int]) -> None:
        """Give the cluster ``wanted[index]`` cores for each node that has none yet: all of them or none."""
        with self._locked():
            held = self.held(cluster)
            missing = {index: cores for index, cores in wanted.items() if index not in held}
            used = self._used()
            free = self.cores - sum(used.values())
            if sum(missing.values()) > free:
                raise CloudError(
                    "InsufficientCapacity",
                    f"This machine has {free} of {self.cores} cores free; "
                    f"{sum(missing.values())} more are needed for {len(missing)} instances.",
                    "Pause or stop another cluster, ask for fewer or smaller instances, or let clusters share cores "
                    "by raising the setting PORTAL_LOCAL_CAPACITY.",
                    permanent=True,
                )
            for index, cores in missing.items():
                least_used = sorted(os.sched_getaffinity(0), key=lambda core: (used[core], core))
                held[index] = (least_used * (cores // len(least_used) + 1))[:cores]
                used.update(held[index])
            self._write(cluster, str(directory), held)

    def keep(self, cluster: str, indexes: Collection[int]) -> None:
        """Give back the cores of all other nodes of the cluster."""
        if set(self.held(cluster)) <= set(indexes):
            return
        with self._locked():
            content = kernel.get(self.directory / f"{cluster}.json")
            if content is not None:
                held = {int(index): cores for index, cores in content["nodes"].items() if int(index) in indexes}
                self._write(cluster, content["directory"], held)

    def _write(self, cluster: str, directory: str, nodes: Mapping[int, list[int]]) -> None:
        path = self.directory / f"{cluster}.json"
        if nodes:
            kernel.put(path, {"directory": directory, "nodes": nodes}, durable=True)
        else:
            path.unlink(missing_ok=True)

    def _used(self) -> Counter[int]:
        """How often each core is given away; forgets clusters whose directory is gone."""
        used: Counter[int] = Counter()
        for path in self.directory.glob("*.json"):
            content = kernel.get(path)
            if content is None or not Path(content["directory"]).is_dir():
                path.unlink(missing_ok=True)
                continue
            for cores in content["nodes"].values():
                used.update(cores)
        return used

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def machine_memory() -> int:
    """MiB that this machine, or the container we are in, has."""
    with open("/proc/meminfo") as file:
        total = int(next(line for line in file if line.startswith("MemTotal:")).split()[1]) >> 10
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()) >> 20)
    except (OSError, ValueError):
        return total
