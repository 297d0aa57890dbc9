"""What every deployment in a customer's account has in common: it moves under its lock, and its state is kept in the
customer's bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portal.clouds.aws.state import Lock, Store
from portal.clouds.base import CloudError, Failed, Handle, Settled, Step


@dataclass(frozen=True)
class Deployment:
    """One deployment. ``id`` names its lock and its document, ``kind`` and ``name`` are for people. ``leaving`` says
    that it is being removed, ``forgotten`` that nothing of it is to be remembered then."""

    store: Store
    id: str
    kind: str
    name: str
    leaving: bool
    forgotten: bool

    def advance(self, handle: Handle, move: Callable[[Handle], Step]) -> Step:
        """One step, under the lock, and its state into the bucket."""
        lock = self._take(handle)
        if lock:
            handle = {**handle, "lock": lock.remembered()}
        step = move(handle)
        if lock:
            try:
                self._keep(lock, handle, step)
            except CloudError as error:
                # What was made stays known whatever becomes of its copy.
                return Step(step.handle, Failed(error), step.events)
        if isinstance(step.outcome, Settled):
            step.handle.pop("lock", None)
        return step

    def _take(self, handle: Handle) -> Lock | None:
        """The lock: still held, or taken now. A removal goes on also where the customer removed the table before: what
        is left costs money."""
        held = Lock.recalled(self.id, handle.get("lock"))
        if held:
            return held
        try:
            return self.store.take(self.id, f"{self.kind} {self.name}")
        except CloudError as error:
            if self.leaving and error.code == "NotFound":
                return None
            raise

    def _keep(self, lock: Lock, before: Handle, step: Step) -> None:
        """Write the state where it tells something new; give the lock back when all is done."""
        settled = isinstance(step.outcome, Settled)
        try:
            if settled and self.forgotten:
                self.store.forget(lock)
                return
            if settled or _ids(before) != _ids(step.handle):
                self.store.save(lock, self.kind, self.name, step.handle)
            if settled:
                self.store.release(lock)
        except CloudError as error:
            if not (self.leaving and error.code == "NotFound"):
                raise


def _ids(handle: Handle) -> dict[str, Any]:
    return {name: entry["id"] for name, entry in handle.get("steps", {}).items() if entry["id"]}
