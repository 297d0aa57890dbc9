"""The place of real Bodo in tests: installed once, and kept where TEST_RELEASES says, or in var/test-releases."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = Path(os.environ.get("TEST_RELEASES") or Path(__file__).parents[2] / "var" / "test-releases")


@contextmanager
def take_turn() -> Iterator[Path]:
    """A machine's root. The cores of the machine are registered there: two test processes take turns."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "tests.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        shutil.rmtree(KEPT / "instances", ignore_errors=True)  # a test process that was killed may have left its own
        yield KEPT
