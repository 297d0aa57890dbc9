"""Pages of lists.

``page`` is for long ones, by keyset: the position is the last row's key, so page 2,000 costs what page 1 does.
``numbered_page`` is for some thousands of rows in any order, which people want counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

PAGE_SIZE = 50
Row = TypeVar("Row", bound=Model)
Read = Callable[[int | None, int, bool], tuple[list[Row], int | None]]
"""Gives, for an edge, a limit and whether to go forward, the rows next to the edge, nearest first; and where it stopped
looking, if that was before it found enough or came to the end."""


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page, and the addresses of its neighbours. ``unfinished``: there may be more rows before the next one's."""

    rows: Sequence[Row]
    next_url: str | None
    previous_url: str | None
    count_label: str
    unfinished: bool = False


def page(request: HttpRequest, rows: QuerySet[Row, Row], *, key: str = "number", size: int = PAGE_SIZE) -> Page[Row]:
    """The page of ``rows`` that the request asks for, newest first by the unique integer field ``key``.

    ``?before=N`` shows rows older than N, ``?after=N`` newer ones. Anything else in the query string is kept.
    """

    def read(edge: int | None, limit: int, forward: bool) -> tuple[list[Row], int | None]:
        beyond = rows if edge is None else rows.filter(Q(**{f"{key}__{'gt' if forward else 'lt'}": edge}))
        return list(beyond.order_by(key if forward else f"-{key}")[:limit]), None

    return read_page(request, read, key=key, size=size)


def read_page(request: HttpRequest, read: Read[Row], *, key: str = "number", size: int = PAGE_SIZE) -> Page[Row]:
    """As ``page``, for rows that are found in another way."""
    before, after = _number(request, "before"), _number(request, "after")
    forward = after is not None
    found, stopped = read(after if forward else before, size + 1, forward)
    more, found = len(found) > size, found[:size]
    position = getattr(found[-1], key) if found and more else stopped
    onward = None if position is None else _url(request, **{"after" if forward else "before": position})
    if forward:
        found.reverse()
        next_url, previous_url = _url(request, before=getattr(found[-1], key)) if found else None, onward
    else:
        back = found and before is not None
        next_url, previous_url = onward, _url(request, after=getattr(found[0], key)) if back else None
    return Page(found, next_url, previous_url, f"{len(found)} shown" if found else "", unfinished=stopped is not None)


def numbered_page(request: HttpRequest, rows: QuerySet[Row, Row], *, size: int = PAGE_SIZE) -> Page[Row]:
    """The page ``?page=N`` of ``rows`` in their own order, the last one where there are fewer. Reads all rows that come
    before: not for lists without an end."""
    total = rows.count()
    last = max(1, -(-total // size))
    number = min(max(1, _number(request, "page") or 1), last)
    first = (number - 1) * size
    found = list(rows[first : first + size])
    return Page(
        rows=found,
        next_url=_url(request, page=number + 1) if number < last else None,
        previous_url=_url(request, page=number - 1) if number > 1 else None,
        count_label=f"{first + 1:,}–{first + len(found):,} of {total:,}" if found else "",
    )


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _url(request: HttpRequest, **position: Any) -> str:
    query = request.GET.copy()
    for name in ("before", "after", "page"):
        query.pop(name, None)
    query.update({name: str(value) for name, value in position.items()})
    return f"{request.path}?{query.urlencode()}"
