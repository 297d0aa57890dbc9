"""Pages of lists.

``page`` is for long ones, by keyset: the position is the last row's key, so page 2,000 costs what page 1 does.
``numbered_page`` is for some thousands of rows in any order, which people want counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

PAGE_SIZE = 50
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page, and the addresses of its neighbours."""

    rows: Sequence[Row]
    next_url: str | None
    previous_url: str | None
    count_label: str


def page(request: HttpRequest, rows: QuerySet[Row, Row], *, key: str = "number", size: int = PAGE_SIZE) -> Page[Row]:
    """The page of ``rows`` that the request asks for, newest first by the unique integer field ``key``.

    ``?before=N`` shows rows older than N, ``?after=N`` newer ones. Anything else in the query string is kept.
    """
    before, after = _number(request, "before"), _number(request, "after")
    if after is not None:
        found = list(rows.filter(Q(**{f"{key}__gt": after})).order_by(key)[: size + 1])
        more_newer, found = len(found) > size, found[:size][::-1]
        more_older = True
    else:
        older = rows.filter(Q(**{f"{key}__lt": before})) if before is not None else rows
        found = list(older.order_by(f"-{key}")[: size + 1])
        more_older, found = len(found) > size, found[:size]
        more_newer = before is not None
    label = "" if not found else f"{len(found)} shown"
    return Page(
        rows=found,
        next_url=_url(request, before=getattr(found[-1], key)) if found and more_older else None,
        previous_url=_url(request, after=getattr(found[0], key)) if found and more_newer else None,
        count_label=label,
    )


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
