"""The clock of the portal: sweeps what is due and runs each app's periodic work. Any number of schedulers may run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.db import close_old_connections

from portal import reconcile

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 0.1


@dataclass(frozen=True)
class Periodic:
    """Work that is done again and again; each has its own thread, so that one that hangs holds up no other."""

    name: str
    seconds: float
    work: Callable[[], object]


_periodics: list[Periodic] = [Periodic("sweep", SWEEP_SECONDS, reconcile.sweep)]


def every(seconds: float, name: str, work: Callable[[], object]) -> None:
    """Register periodic work. It must be idempotent: two schedulers may do it at the same time."""
    _periodics.append(Periodic(name, seconds, work))


def run(stop: threading.Event) -> None:
    """Run all periodic work until ``stop`` is set."""
    threads = [threading.Thread(target=_loop, args=(periodic, stop), name=periodic.name) for periodic in _periodics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _loop(periodic: Periodic, stop: threading.Event) -> None:
    failures = 0
    while not stop.is_set():
        try:
            close_old_connections()
            periodic.work()
            failures = 0
        except Exception:
            failures += 1
            if failures in {1, 10} or failures % 100 == 0:
                logger.exception("Periodic work %s failed (%d times in a row)", periodic.name, failures)
        finally:
            close_old_connections()
        stop.wait(periodic.seconds if not failures else min(10.0, periodic.seconds * 2 ** min(failures, 6)))
