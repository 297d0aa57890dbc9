"""``python -m tests.clouds.small_disk FOLDER RELEASES``: a run that fills a disk of 64 MB, in a mount namespace of its
own, where the disk can be mounted without being root. Prints what became of it as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from portal.clouds.base import WorkspaceSpec
from portal.clouds.local.provider import LocalCloud
from tests.clouds.local_world import CAPACITY, World, jobs_of, processes_of

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]

GREEDY = """
with open("filling", "wb", 0) as file:
    for size in (1 << 20, 1):
        try:
            while True: file.write(bytes(size))
        except OSError: pass
    while True: pass
"""
"""Leaves no byte free, and goes on."""


def main() -> None:
    disk, releases = Path(sys.argv[1]), Path(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    (disk / "machine").mkdir()
    (disk / "machine" / "releases").symlink_to(releases)
    try:
        print(json.dumps(fill(disk)))
    finally:
        for pid in processes_of(disk):
            os.kill(pid, 9)


def fill(disk: Path) -> dict[str, Any]:
    """How the greedy run ended, with how many blocks free, what ran after it, and who was left."""
    factor = CAPACITY / len(os.sched_getaffinity(0))
    cloud = LocalCloud(disk / "configuration", disk / "machine", factor, sys.executable)
    world = World(cloud, WorkspaceSpec(str(uuid.uuid4()), "w", "local"))
    world.deploy()
    handle = world.go(world.spec())
    exit = world.end(cloud.start(handle, world.process(GREEDY)))
    free = os.statvfs(disk).f_bavail
    (world.bodofs / "filling").unlink()
    after = world.run(handle, "print(1)")[1]
    return {"reason": exit.reason, "detail": exit.detail, "free": free, "after": after, "left": jobs_of(world)}


if __name__ == "__main__":
    main()
