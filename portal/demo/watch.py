"""How the demo looks at pages that change: statuses, progress, logs; and what it says when they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin

from bs4 import Tag

from portal.demo.browser import Browser, Changes, Page, PageError, poll, text_of
from portal.demo.screen import Step

UNHEARD_SECONDS = 5.0  # what takes longer changes at least once on its way, and the page has to hear of that


def follow(
    page: Page,
    wanted: set[str],
    *,
    failures: frozenset[str] = frozenset(),
    seconds: float,
    step: Step,
    show: Callable[[Page], None] | None = None,
) -> Page:
    """Refresh the live part of a page whenever the page hears of a change, until its status is a wanted one."""
    live = urljoin(page.address, str(page.select("[data-live]")["hx-get"]))
    known = 0
    with Changes(page) as changes:
        for gone in poll(seconds, 0):
            piece = page.browser.get(live)
            if status_of(piece.soup) in wanted:
                expect(known > 0 or gone < UNHEARD_SECONDS, "The page did not hear of any change by itself.", piece)
                return piece
            if status_of(piece.soup) in failures:
                raise PageError(f"The status is {status_of(piece.soup)}.", piece)
            if show:
                show(piece)
            else:
                step.progress(*progress_of(piece))
            known = changes.wait(known, 0.25)
    raise PageError(f"The status is still {status_of(piece.soup)} after {seconds:.0f} s.", piece)


class Log:
    """The log of a run, as the page's script reads it."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.text = ""
        self.complete = False
        self._offset = "0"
        self._shown = 0

    def more(self) -> list[str]:
        """The lines that are new and whole."""
        answer = self.browser.fetch(self.address, {"stream": "stdout", "offset": self._offset})
        self.text += answer.text
        self._offset = answer.headers["X-Next-Offset"]
        self.complete = answer.headers["X-Log-Complete"] == "true"
        end = self.text.rfind("\n") + 1 if not self.complete else len(self.text)
        lines = self.text[self._shown : end].splitlines()
        self._shown = max(end, self._shown)
        return lines


def expect(true: bool, message: str, page: Page | None = None) -> None:
    """Raise PageError unless it is true."""
    if not true:
        raise PageError(message, page)


def status_of(tag: Tag) -> str:
    """The first status badge in an element."""
    badge = tag.select_one("[data-status]")
    return str(badge["data-status"]) if badge is not None else ""


def progress_of(page: Page) -> tuple[str, float | None]:
    """What a progress bar says, and how far it is."""
    label = text_of(page.soup.select_one(".progress-label span"))
    bar = page.soup.select_one("progress[value]")
    return label or status_of(page.soup), float(str(bar["value"])) if bar is not None else None


def explain(error: PageError) -> list[str]:
    """What happened, and what the page said about it."""
    lines = [str(error)]
    if error.page is not None:
        lines.append(f"at {error.page.address} (HTTP {error.page.status}), “{error.page.heading}”")
        lines += [f"the page says: {text}" for text in error.page.errors]
        timeline = error.page.soup.select(".timeline-event.error, .timeline-event.warning")
        lines += [f"event: {text_of(event)}" for event in timeline[:5]]
    return lines
