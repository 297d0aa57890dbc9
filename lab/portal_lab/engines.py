"""The engines that a kernel is attached to: ranks 0 to n-1, and a driver, which is engine n.

Code goes to them as cells, never as pickled functions: the cluster's Python may be another.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import ipyparallel
from ipyparallel import error

from portal_lab.attachment import Attachment

CONNECT_SECONDS = 15
LOOK_SECONDS = 0.5
INTERRUPT_SECONDS = 5.0


class LostError(Exception):
    """The engines, or some of them, are gone."""


class BusyError(Exception):
    """Engines are still in a cell that was given up."""


class Engines:
    """A connection to one start of a cluster's engines. ``still`` raises what keeps us from waiting for them."""

    def __init__(self, attachment: Attachment, still: Callable[[], None]) -> None:
        self.attachment, self.still = attachment, still
        self.workers = attachment.workers
        logging.getLogger("ipyparallel").setLevel(logging.ERROR)
        try:
            self.client = ipyparallel.Client(dict(attachment.connection), timeout=CONNECT_SECONDS)
            self.client.wait_for_engines(self.workers + 1, timeout=CONNECT_SECONDS, interactive=False)
        except Exception as problem:  # of many kinds, with words for programmers
            raise LostError(f"They do not answer ({type(problem).__name__}).") from problem
        self.unfinished: list[Any] = []

    @property
    def ranks(self) -> list[int]:
        """Their numbers."""
        return list(range(self.workers))

    @property
    def driver(self) -> list[int]:
        """Its number."""
        return [self.workers]

    def close(self) -> None:
        """Speak to them no more. What they hold in memory stays."""
        self.client.close()

    def refuse_lost(self) -> None:
        """Raises LostError where one has ended, or all are gone."""
        missing = sorted({*self.ranks, *self.driver} - set(self.client.ids))
        if missing:
            names = ["the driver" if number == self.workers else f"rank {number}" for number in missing]
            raise LostError(f"{', '.join(names).capitalize()} ended.")

    def refuse_busy(self, targets: Sequence[int]) -> None:
        """Raises BusyError where one is still in an earlier cell."""
        self.unfinished = [result for result in self.unfinished if not result.done()]
        waiting = self.client.outstanding
        cells = [cell for result in self.unfinished for cell in zip(result._targets, result.msg_ids, strict=True)]
        busy = sorted({number for number, message in cells if message in waiting} & set(targets))
        if busy:
            raise BusyError(", ".join(map(str, busy)))

    def run(self, code: str, targets: Sequence[int]) -> list[Any]:
        """Run code on engines, show what it prints as it comes, and return each one's answer.

        Raises LostError, BusyError, and what ipyparallel raises for errors in the code. A KeyboardInterrupt is passed
        on to the engines.
        """
        self.refuse_lost()
        self.refuse_busy(targets)
        result = self._send(code, targets, silent=False)
        with result.stream_output():
            try:
                self._wait(result)
            except KeyboardInterrupt:
                self._interrupt(result, targets)
            if result.done():
                result.wait_for_output(1)
        try:
            return list(result.get())
        except error.CompositeError as problem:
            self.refuse_lost()
            raise error.AlreadyDisplayedError(problem) from None
        except error.EngineError:
            raise LostError("An engine ended.") from None

    def ask(self, expression: str, targets: Sequence[int]) -> list[Any]:
        """The value of an expression, of plain types, on each of the engines."""
        self.refuse_lost()
        self.refuse_busy(targets)
        result = self._send(f"_portal_answer = {expression}", targets, silent=True)
        self._wait(result)
        result.get()
        return list(self.client[list(targets)].pull("_portal_answer", block=True))

    def pull(self, name: str, target: int) -> Any:
        """A variable of one engine, of plain types."""
        return self.client[target].pull(name, block=True)

    def _send(self, code: str, targets: Sequence[int], *, silent: bool) -> Any:
        result = self.client[list(targets)].execute(code, silent=silent, block=False)
        self.unfinished.append(result)
        return result

    def _wait(self, result: Any) -> None:
        while not result.done():
            result.wait(LOOK_SECONDS)
            if not result.done():
                self.still()
                self.refuse_lost()

    def _interrupt(self, result: Any, targets: Sequence[int]) -> None:
        self.client.send_signal("SIGINT", targets=list(targets), block=False)
        deadline = time.monotonic() + INTERRUPT_SECONDS
        while not result.done() and time.monotonic() < deadline:
            result.wait(0.1)
            self.refuse_lost()
        if not result.done():
            self.refuse_busy(targets)


def call(function: str, *arguments: Any) -> str:
    """The code that calls a function of ``on_engine`` with texts, numbers and lists; ``...`` stands for the shell."""
    shown = ["get_ipython()" if each is ... else repr(each) for each in arguments]
    return f"__import__('on_engine').{function}({', '.join(shown)})"


def plain(value: Any) -> bool:
    """Whether a value can be a parameter of a query."""
    return isinstance(value, (str, int, float, bool, type(None))) and len(json.dumps(value)) < 100_000
