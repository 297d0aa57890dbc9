"""Searching through a log: every line once, whatever the blocks it is read in."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from portal.clouds import logs
from portal.clouds.base import LogChunk, LogLine


def reader(log: bytes) -> Callable[[int, int], LogChunk]:
    def read(offset: int, limit: int) -> LogChunk:
        data = log[offset : offset + limit]
        return LogChunk(data, min(offset, len(log)), min(offset, len(log)) + len(data), len(log))

    return read


def found(log: bytes, text: str, offset: int = 0, limit: int = 100) -> list[tuple[int, bytes]]:
    """All lines, however many calls it takes."""
    lines: list[LogLine] = []
    while True:
        matches = logs.search(reader(log), text, offset, limit)
        assert len(matches.lines) <= limit
        assert matches.size == len(log)
        lines += matches.lines
        if matches.next_offset == matches.size:
            return [(line.offset, line.data) for line in lines]
        assert matches.next_offset > offset, "a search must get on"
        offset = matches.next_offset


def test_lines_are_found_with_where_they_begin() -> None:
    log = b"one\nTwo two\nthree\ntwo"
    assert found(log, "two") == [(4, b"Two two"), (18, b"two")]
    assert found(log, "t") == [(4, b"Two two"), (12, b"three"), (18, b"two")]
    assert found(log, "two", offset=5) == [(5, b"wo two"), (18, b"two")]
    assert found(log, "four") == []
    assert found(log, "") == []
    assert found(b"", "two") == []
    assert found("Größe 5 €\n".encode(), "größe 5 €") == [(0, "Größe 5 €".encode())]


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("block", [7, 16, 64])
def test_blocks_and_calls_lose_nothing_and_find_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, block: int, limit: int
) -> None:
    monkeypatch.setattr(logs, "BLOCK", block)
    monkeypatch.setattr(logs, "SEARCHED", block)
    random.seed(block)
    words = [random.choice(["a", "bb", "needle", "ccc"]) for _ in range(300)]
    lines = [word.encode() for word in words]
    log = b"\n".join(lines)
    starts = [sum(len(line) + 1 for line in lines[:index]) for index in range(len(lines))]
    wanted = [(start, line) for start, line in zip(starts, lines, strict=True) if b"needle" in line]
    assert found(log, "needle", limit=limit) == wanted


def test_a_line_longer_than_a_block_is_found_across_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 16)
    for at in range(60):
        log = b"x" * at + b"needle" + b"y" * 50
        assert len(found(log, "needle")) == 1, at


def test_a_long_line_is_cut_around_what_was_found() -> None:
    log = b"first\n" + b"x" * 50_000 + b"needle" + b"y" * 50_000 + b"\nlast"
    ((offset, data),) = found(log, "needle")
    assert len(data) == logs.LINE
    assert log[offset : offset + len(data)] == data
    assert b"needle" in data


def test_a_call_looks_through_a_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 1 << 10)
    monkeypatch.setattr(logs, "SEARCHED", 8 << 10)
    log = b"line\n" * 10_000
    matches = logs.search(reader(log), "nothing", 0, 10)
    assert (matches.lines, matches.size) == ([], len(log))
    assert 8 << 10 <= matches.next_offset < 9 << 10
