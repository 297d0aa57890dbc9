"""Secret values in logs: replaced by asterisks of the same length, so that no offset moves.

A value is found wherever it was printed: as it is, escaped as JSON or Python does, percent-encoded, or in base64, also
within something longer, as in ``user:password``. Of a value with several lines, each long line counts for itself. This
catches accidents; a program that wants to show what it was given can always find an encoding that is not known here.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from portal.clouds.base import LogChunk

SHORTEST = 4
"""Characters of the shortest value that is masked: anything shorter is everywhere."""

SHORTEST_PART = 8
"""Characters from which a part of a value counts: a line of it, or what of its base64 does not depend on neighbours."""

_GRAM = 4
_STARS = bytes(character if character in b"\r\n" else ord("*") for character in range(256))
"""Line ends stay: a masked certificate has as many lines as before."""


class Masker:
    """Masks the given values. ``margin`` is how many bytes around a piece of a log decide what is masked in it."""

    def __init__(self, values: Iterable[str]) -> None:
        self._patterns = {form for value in values for form in forms_of(value)}
        self.margin = max((len(pattern) for pattern in self._patterns), default=1) - 1
        # Wherever a pattern of 7 bytes or more stands, 4 of its bytes begin at a multiple of 4. Looking for these first
        # makes many values as fast as few.
        self._by_gram: dict[int, list[bytes]] = defaultdict(list)
        self._short = [pattern for pattern in self._patterns if len(pattern) < 2 * _GRAM - 1]
        for pattern in self._patterns.difference(self._short):
            for shift in range(_GRAM):
                gram = int.from_bytes(pattern[shift : shift + _GRAM], sys.byteorder)
                self._by_gram[gram].append(pattern)
        self._grams = frozenset(self._by_gram)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to mask."""
        return not self._patterns

    def mask(self, data: bytes) -> bytes:
        """A whole log without the values. What may be the beginning of one at its very end is masked as well."""
        return self._masked(data, self._unfinished(data, SHORTEST))

    def read(self, log: Callable[[int, int], LogChunk], offset: int, limit: int, *, ended: bool) -> LogChunk:
        """A piece of a log as ``mask`` of the whole shows it; ``log`` reads the log as it is, from an offset, up to a
        limit, and takes negative offsets, as ``Cloud.logs`` does.

        While the log may still grow (not ``ended``), what may be the beginning of a value at its end is held back until
        more is written.
        """
        if not self._patterns:
            return log(offset, limit)
        start = max(0, offset - self.margin) if offset >= 0 else offset - self.margin
        around = _whole(log, start, limit + 2 * self.margin)
        begin = max(0, around.size + offset) if offset < 0 else min(offset, around.size)
        end = min(begin + limit, around.next_offset)
        unfinished = len(around.data)
        if around.next_offset >= around.size:
            unfinished = self._unfinished(around.data, SHORTEST if ended else 1)
        if not ended:
            end = max(begin, min(end, around.offset + unfinished))
        shown = self._masked(around.data, unfinished)[begin - around.offset : end - around.offset]
        return LogChunk(shown, begin, end, around.size)

    def _masked(self, data: bytes, unfinished: int) -> bytes:
        spans = [span for pattern in self._present(data) for span in _runs(pattern, data)]
        if unfinished < len(data):
            spans.append((unfinished, len(data)))
        if not spans:
            return data
        masked = bytearray(data)
        for begin, end in spans:
            masked[begin:end] = data[begin:end].translate(_STARS)
        return bytes(masked)

    def _present(self, data: bytes) -> Iterable[bytes]:
        """The patterns that may be in ``data``, and all that are."""
        aligned = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")
        found = self._grams.intersection(aligned)
        return {pattern for gram in found for pattern in self._by_gram[gram]}.union(self._short)

    def _unfinished(self, data: bytes, least: int) -> int:
        """Where the longest beginning of a pattern starts, of ``least`` bytes or more, that ``data`` ends with; the
        length of ``data`` where there is none."""
        first = len(data)
        last = len(data) - least
        for pattern in self._patterns:
            head = pattern[:least]
            at = data.find(head, max(0, len(data) - len(pattern) + 1))
            while 0 <= at <= last and at < first:
                if pattern.startswith(data[at:]):
                    first = at
                at = data.find(head, at + 1)
        return first


def forms_of(value: str) -> Iterator[bytes]:
    """How programs print a value, as bytes. Spaces around it are left out: programs take them off."""
    text = value.strip()
    if len(text) < SHORTEST:
        return
    raw = text.encode()
    yield raw
    yield from (json.dumps(text, ensure_ascii=ascii)[1:-1].encode() for ascii in (True, False))
    yield from (repr(text)[1:-1].encode(), repr(raw)[2:-1].encode())
    yield from (quote(text).encode(), quote(text, safe="").encode(), quote_plus(text).encode())
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(raw).rstrip(b"=")
        for shift, foreign in enumerate((0, 2, 3)):  # within something longer: what only this value decides
            part = encode(bytes(shift) + raw)[foreign : (shift + len(raw)) * 8 // 6]
            if len(part) >= SHORTEST_PART:
                yield part
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > 1:
        yield from (line.encode() for line in lines if len(line) >= SHORTEST_PART)


def _runs(pattern: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    """What the occurrences of a pattern cover, those that overlap or touch together: a log of one letter is one run."""
    at = end = data.find(pattern)
    while at >= 0:
        begin = at
        while 0 <= at <= end:
            last = data.rfind(pattern, at, at + 2 * len(pattern))
            end = last + len(pattern)
            at = data.find(pattern, last + 1)
        yield begin, end
        end = at


def _whole(log: Callable[[int, int], LogChunk], offset: int, limit: int) -> LogChunk:
    """As much as was asked for, or all up to the end, also where the provider gives less at a time."""
    chunk = log(offset, limit)
    data, begin = chunk.data, chunk.offset
    while chunk.data and len(data) < limit and chunk.next_offset < chunk.size:
        chunk = log(chunk.next_offset, limit - len(data))
        data += chunk.data
    return LogChunk(data, begin, begin + len(data), chunk.size)
