"""Reading the logs of runs, which lie in pieces in the bucket.

A piece is named by the offset at which it ends, so the one that holds an offset is the first after it. Pieces never
change; what was listed is remembered, and a reader that follows a log asks for the newer ones with one list call.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from portal.clouds.aws.mailbox import Mailbox
from portal.clouds.aws.node.mailbox import part_key
from portal.clouds.base import LogChunk, LogStream

REMEMBERED = 64
"""Logs of which the pieces are remembered; a piece takes about 100 bytes, and a day makes 8,640 at most."""

MOST_PIECES = 64
"""That are read with one call: what they hold less than was asked for comes with the next."""

AT_ONCE = 8


class Logs:
    """The logs of one cloud configuration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, LogStream], list[tuple[int, int]]] = OrderedDict()

    def read(self, box: Mailbox, stream: LogStream, offset: int, limit: int) -> LogChunk:
        """See ``Cloud.logs``."""
        pieces = self._pieces(box, stream)
        size = pieces[-1][0] if pieces else 0
        begin = max(0, size + offset) if offset < 0 else min(offset, size)
        wanted: list[tuple[int, int, int]] = []
        position, stop = begin, min(size, begin + max(0, limit))
        for end, length in pieces[bisect.bisect_right(pieces, (begin, 1 << 62)) :]:
            if position >= stop or len(wanted) == MOST_PIECES:
                break
            skipped = position - (end - length)
            wanted.append((end, skipped, min(end, stop) - position))
            position = min(end, stop)
        data = b"".join(self._read_all(box, stream, wanted))
        return LogChunk(data, begin, begin + len(data), size)

    def _read_all(self, box: Mailbox, stream: LogStream, wanted: list[tuple[int, int, int]]) -> list[bytes]:
        def read(piece: tuple[int, int, int]) -> bytes:
            end, skipped, length = piece
            found = box.get(part_key(stream.value, end), Range=f"bytes={skipped}-{skipped + length - 1}")
            data: bytes = found["Body"].read() if found else b""
            return data

        if len(wanted) < 2:
            return [read(piece) for piece in wanted]
        with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as pool:
            return list(pool.map(read, wanted))

    def _pieces(self, box: Mailbox, stream: LogStream) -> list[tuple[int, int]]:
        """The pieces of a log, each with its end and its length, in their order."""
        key = (box.folder, stream)
        with self._lock:
            known = self._known.get(key, [])
        after = part_key(stream.value, known[-1][0] if known else 0)
        found = box.s3.pages(
            "list_objects_v2",
            "Contents",
            **box.bucket,
            Prefix=f"{box.folder}{stream.value}/",
            StartAfter=box.folder + after,
        )
        newer = [(int(each["Key"].rpartition("/")[2]), int(each["Size"])) for each in found]
        pieces = [*known, *newer] if newer else known
        with self._lock:
            self._known[key] = pieces
            self._known.move_to_end(key)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return pieces
