"""Fixtures of the LOCAL cloud (see ``local_world``)."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import CloudError, Handle, WorkspaceSpec
from portal.clouds.local.provider import LocalCloud
from tests.clouds.local_world import CAPACITY, World, make_release, processes_of, wait_for


@pytest.fixture
def machine_root(tmp_path: Path) -> Path:
    make_release(tmp_path / "machine" / "releases")
    return tmp_path / "machine"


@pytest.fixture
def new_world(machine_root: Path, tmp_path: Path) -> Iterator[Callable[[], World]]:
    """More configurations on the same machine. Afterwards nothing of them may live."""
    factor = CAPACITY / len(os.sched_getaffinity(0))

    def make() -> World:
        cloud = LocalCloud(tmp_path / f"configuration-{uuid.uuid4().hex[:4]}", machine_root, factor, sys.executable)
        world = World(cloud, WorkspaceSpec(str(uuid.uuid4()), "w", "local"))
        world.deploy()
        return world

    yield make
    for pid in processes_of(tmp_path):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    wait_for(lambda: not processes_of(tmp_path))


@pytest.fixture
def world(new_world: Callable[[], World]) -> World:
    return new_world()


@pytest.fixture
def running(world: World) -> tuple[World, Handle]:
    """A running cluster of one node."""
    return world, world.go(world.spec())


@pytest.fixture
def refused() -> Callable[..., Any]:
    """``with refused("Code"):`` expects a ``CloudError`` of that code, with a message."""

    def expect(code: str) -> Any:
        return pytest.raises(CloudError, match=f"^{code}: .")

    return expect
