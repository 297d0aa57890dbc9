"""What a demo prints: each step with its time, and how far a long one is.

On a terminal the step under way has one line that changes in place; elsewhere a line appears per tenth of the way.
"""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

WIDTH = 72
BAR = 20


class Screen:
    """Where the demo is shown."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()

    def say(self, text: str = "") -> None:
        """A line of its own."""
        encoding = self.stream.encoding or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        self.stream.write(("\r\x1b[K" if self.live else "") + text + "\n")
        self.stream.flush()

    def step(self, title: str) -> Step:
        """A step, for a ``with`` block."""
        return Step(self, title)

    def draw(self, text: str) -> None:
        """The line that changes in place."""
        columns = shutil.get_terminal_size().columns - 1
        self.stream.write("\r\x1b[K" + text[:columns])
        self.stream.flush()


class Step:
    """One step. Its title stands above what it tells; its last line has a mark and the time."""

    def __init__(self, screen: Screen, title: str) -> None:
        self.screen, self.title = screen, title
        self.began = time.monotonic()
        self.headed = False
        self.tenth = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def __enter__(self) -> Step:
        self.began = time.monotonic()
        if self.screen.live:
            self.screen.draw(f"  … {self.title}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        mark = "✓" if error is None else "✗"
        title = self.title[: WIDTH - 14]
        self.screen.say(f"  {mark} {title:<{WIDTH - 14}}{self.seconds:8.1f} s")

    def tell(self, text: str) -> None:
        """A line that belongs to the step."""
        self._head()
        self.screen.say(f"    {text}")

    def progress(self, message: str, part: float | None) -> None:
        """How far it is, from 0 to 1; None where nobody knows."""
        if self.screen.live:
            bar = "" if part is None else f"[{'#' * round(part * BAR):·<{BAR}}] {part:4.0%} "
            self.screen.draw(f"  … {self.title}  {bar}{self.seconds:.0f} s  {message}")
        elif part is not None and int(part * 10) > self.tenth:
            self.tenth = int(part * 10)
            self.tell(f"{part:4.0%}  {message}")

    def _head(self) -> None:
        if not self.headed:
            self.headed = True
            self.screen.say(f"  … {self.title}")
