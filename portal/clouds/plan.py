"""A deployment as an ordered plan of steps, with the handle as its write-ahead ledger.

The handle is ``{"steps": {name: {"state": ..., "id": ..., "fingerprint": ..., "order": ...}}}`` (``order``, because
JSON objects in PostgreSQL forget the order of their keys). ``advance`` moves *one* thing and returns; the caller stores
the handle before it calls again. So the intent to make a resource is on record before the call that makes it, and its
id right after; a process that dies in between leaves an intent without an id, and whoever comes next *finds* the
resource by its name or tag before making another.

    (absent) → intent → created → ready        on the way up
    intent | created | ready → deleting → (absent)   on the way down, in the reverse order of the ledger

Deleting goes on until the provider says that the resource is absent: only then does the step leave the ledger.

Some providers do not show at once what they made. There (``lag``), an intent that is not fresh may be that of a call
whose answer was lost: what was not found is looked for again until the lag is over, before it is made again or taken
for absent. The ledger keeps ``since``, when the latest try began.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from portal.clouds.base import CloudError, Event, Failed, Handle, Pending, Settled, Step

NOW = 0.0
FRESH_SECONDS = 1.0
"""An intent that is older is that of a try before this one: a healthy worker goes on at once, and after an error it
comes back in two seconds at the earliest."""


class PlanStep(Protocol):
    """One resource of a deployment.

    ``name`` is unique in the plan and never changes its meaning. ``fingerprint`` is what the resource was made from:
    where it differs from the ledger, the resource is deleted and made anew. Steps that share a ``group`` are made side
    by side, and deleted so; any other step waits until all before it are ready, or all after it absent.
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...

    def find(self) -> str | None:
        """The id of the resource, by name or tag, or None if there is none."""

    def create(self) -> str:
        """Make the resource, tagged in the same call, and return its id. It need not be ready yet."""

    def ready(self, id: str) -> bool | Pending | Event:
        """True when usable; otherwise when to look again, or an event that shows how far it is."""

    def delete(self, id: str | None) -> bool | Event:
        """Go on deleting; True once the provider confirms that it is absent, an event that says what is being waited
        for where that takes long. ``id`` is None if it was never learnt."""


def advance(
    wanted: Sequence[PlanStep], known: Iterable[PlanStep], handle: Handle, *, poll: float = 1.0, lag: float = 0.0
) -> Step:
    """Move the deployment one step toward exactly the ``wanted`` steps.

    ``known`` gives a deleter to every step that may stand in the ledger and is no longer wanted. ``poll`` is how many
    seconds to wait for a resource that is under way, ``lag`` how many it may be there without being found. Errors of
    the provider come back as ``Failed``; the ledger is whole in any case.
    """
    handle = copy.deepcopy(handle)
    ledger: dict[str, dict[str, Any]] = handle.setdefault("steps", {})
    try:
        removed = _delete_unwanted(wanted, known, handle, ledger, poll, lag)
        return removed or _make_wanted(wanted, handle, ledger, poll, lag)
    except CloudError as error:
        return Step(handle, Failed(error))


def _delete_unwanted(
    wanted: Sequence[PlanStep],
    known: Iterable[PlanStep],
    handle: Handle,
    ledger: dict[str, dict[str, Any]],
    poll: float,
    lag: float,
) -> Step | None:
    fingerprints = {step.name: step.fingerprint for step in wanted}
    deleters = {step.name: step for step in [*known, *wanted]}
    waiting: PlanStep | None = None
    told: list[Event] = []
    for name in sorted(ledger, key=lambda name: -int(ledger[name]["order"])):
        entry = ledger[name]
        kept = fingerprints.get(name) == entry["fingerprint"] and entry["state"] != "deleting"
        if kept:
            continue
        step = deleters[name]
        if waiting is not None and step.group != waiting.group:
            break
        if entry["state"] != "deleting":
            entry["state"] = "deleting"
            return Step(handle, Pending(NOW), [Event(name, f"Removing {step.label}")])
        if entry["id"] is None and _age(entry) < lag:
            return Step(handle, Pending(lag - _age(entry)))
        answer = step.delete(entry["id"])
        if answer is not True:
            waiting = step
            told += [answer] if isinstance(answer, Event) else []
            continue
        del ledger[name]
        return Step(handle, Pending(NOW), [Event(name, f"Removed {step.label}")])
    return None if waiting is None else Step(handle, Pending(poll), told)


def _make_wanted(
    wanted: Sequence[PlanStep], handle: Handle, ledger: dict[str, dict[str, Any]], poll: float, lag: float
) -> Step:
    waiting: list[tuple[PlanStep, Pending | Event]] = []
    for step in wanted:
        if waiting and step.group != waiting[-1][0].group:
            break
        entry = ledger.get(step.name)
        if entry is None:
            order = max((entry["order"] for entry in ledger.values()), default=0) + 1
            entry = {"state": "intent", "id": None, "fingerprint": step.fingerprint, "order": order}
            ledger[step.name] = entry | ({"since": time.time()} if lag else {})
            return Step(handle, Pending(NOW, initializing=bool(waiting)))
        if entry["state"] == "intent":
            found = step.find()
            if found is None and lag and (age := _age(entry)) > FRESH_SECONDS:
                if age < lag:
                    return Step(handle, Pending(lag - age, trying=True))
                entry["since"] = time.time()
                return Step(handle, Pending(NOW, trying=True))
            entry["id"] = step.create() if found is None else found
            entry["state"] = "created"
            message = f"Making {step.label}" if found is None else f"Found {step.label}"
            return Step(handle, Pending(NOW), [Event(step.name, message)])
        if entry["state"] == "created":
            answer = step.ready(entry["id"])
            if answer is True:
                entry["state"] = "ready"
                return Step(handle, Pending(NOW), [Event(step.name, f"{step.label[0].upper()}{step.label[1:]} ready")])
            waiting.append((step, Pending(poll) if answer is False else answer))
    if not waiting:
        return Step(handle, Settled())
    events = [answer for _, answer in waiting if isinstance(answer, Event)]
    pauses = [answer for _, answer in waiting if isinstance(answer, Pending)]
    after = min((pause.after for pause in pauses), default=poll)
    return Step(handle, Pending(after, initializing=any(pause.initializing for pause in pauses)), events)


def _age(entry: dict[str, Any]) -> float:
    """Seconds since the latest try to make a resource began."""
    return time.time() - float(entry.get("since", 0))
