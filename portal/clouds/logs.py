"""Looking through a log of any length, for providers whose machines cannot do it themselves."""

from __future__ import annotations

from collections.abc import Callable

from portal.clouds.base import LogChunk, LogLine, LogMatches

BLOCK = 4 << 20
"""Bytes that are read at once."""

SEARCHED = 128 << 20
"""Bytes that are looked through with one call."""

LINE = 2000
"""Bytes of a long line that are shown around what was found."""


def search(read: Callable[[int, int], LogChunk], text: str, offset: int, limit: int) -> LogMatches:
    """See ``Cloud.search``; ``read`` gives a piece of the log from an offset, of up to a number of bytes."""
    wanted = text.encode().lower()  # of bytes, this is the case of A to Z alone
    found: list[LogLine] = []
    position, end = offset, offset + SEARCHED
    while True:
        chunk = read(position, BLOCK)
        block = chunk.data
        last = chunk.next_offset >= chunk.size
        if not last and b"\n" in block:
            block = block[: block.rindex(b"\n") + 1]
        folded = block.lower()
        at = folded.find(wanted) if wanted else -1
        while at >= 0:
            stop = _or_end(block.find(b"\n", at), block)
            found.append(_line(block, at, stop, chunk.offset))
            if len(found) == limit:
                return LogMatches(found, min(chunk.offset + stop + 1, chunk.size), chunk.size)
            at = folded.find(wanted, stop)
        if last:
            return LogMatches(found, chunk.size, chunk.size)
        # Without an end of line in the block, what is looked for may stand across the edge.
        overlap = 0 if block.endswith(b"\n") else min(len(wanted) - 1, len(block) - 1)
        position = chunk.offset + len(block) - max(0, overlap)
        if position >= end:
            return LogMatches(found, position, chunk.size)


def _line(block: bytes, at: int, stop: int, offset: int) -> LogLine:
    start = block.rfind(b"\n", 0, at) + 1
    if stop - start > LINE:
        start = max(start, at - LINE // 2)
        stop = min(stop, start + LINE)
    return LogLine(offset + start, block[start:stop])


def _or_end(at: int, block: bytes) -> int:
    return len(block) if at < 0 else at
