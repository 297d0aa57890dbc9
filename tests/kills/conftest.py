"""A workspace on the real LOCAL cloud, and the scheduler and workers that come after one that was killed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds.local_world import make_release
from tests.kills.ground import Ground, leave_nothing, make_ground


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine's root with a stand-in for Bodo; the releases are only read."""
    root = tmp_path_factory.mktemp("machine")
    make_release(root / "releases")
    return root


@pytest.fixture
def ground(transactional_db: None, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A workspace with a running cluster of one core. Afterwards no process of it may live."""
    made = make_ground(tmp_path, release, sys.executable)
    monkeypatch.setattr("workspaces.clouds._local", lambda *_: made.cloud)
    monkeypatch.setattr("portal.queue.send", made.send)
    monkeypatch.setattr("portal.events._publish", lambda *_: None)
    monkeypatch.setattr("portal.clouds.local.steps.SHUTDOWN_SECONDS", 0.5)  # for one that was not asked to go
    made.deploy()
    yield made
    leave_nothing(tmp_path)
    shutil.rmtree(release / "instances", ignore_errors=True)  # its cores are free again
