"""Secret values in logs are masked in every piece of a log as they are in the whole, whoever cuts it where."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.parse
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.clouds.base import LogChunk
from portal.masking import Masker, forms_of

VALUES = st.lists(
    st.one_of(
        st.text("ab", min_size=4, max_size=9),  # overlap with each other and with themselves
        st.text(min_size=1, max_size=12),
        st.text("ab\n\"'\\/é ", min_size=4, max_size=30),
    ),
    max_size=6,
)


def a_log(data: bytes, most: int = 1 << 30) -> Callable[[int, int], LogChunk]:
    """What a cloud would give of this log, ``most`` bytes at a time."""

    def read(offset: int, limit: int) -> LogChunk:
        begin = max(0, len(data) + offset) if offset < 0 else min(offset, len(data))
        piece = data[begin : begin + min(limit, most)]
        return LogChunk(piece, begin, begin + len(piece), len(data))

    return read


def naive(values: Sequence[str], data: bytes) -> bytes:
    """All occurrences, at each place, one by one; then a beginning of at least four bytes at the very end."""
    patterns = {form for value in values for form in forms_of(value)}
    masked = list(data)
    for at in range(len(data)):
        for pattern in patterns:
            rest = data[at:]
            if rest.startswith(pattern) or (len(rest) >= 4 and pattern.startswith(rest)):
                for place in range(at, min(at + len(pattern), len(data))):
                    if data[place] not in b"\r\n":
                        masked[place] = ord("*")
    return bytes(masked)


@st.composite
def logs_with(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Values, and a log of them in all their forms, of pieces of them, and of other text."""
    values = draw(VALUES)
    forms = [form for value in values for form in forms_of(value)] or [b"nothing"]
    pieces = st.one_of(
        st.sampled_from(forms),
        st.tuples(st.sampled_from(forms), st.integers(0, 12)).map(lambda cut: cut[0][: cut[1]]),
        st.text("ab\n", max_size=6).map(str.encode),
        st.binary(max_size=6),
    )
    return values, b"".join(draw(st.lists(pieces, max_size=8)))


@given(logs_with())
@settings(max_examples=300, deadline=None)
def test_the_whole_is_masked_as_by_hand(made: tuple[list[str], bytes]) -> None:
    values, data = made
    masked = Masker(values).mask(data)
    assert masked == naive(values, data)
    assert len(masked) == len(data)


@given(logs_with(), st.integers(1, 20), st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_the_pieces_make_the_whole(made: tuple[list[str], bytes], limit: int, most: int) -> None:
    """Forwards in pieces of any size, from a provider that gives less than it is asked for."""
    values, data = made
    masker, whole, log = Masker(values), Masker(values).mask(data), a_log(data, most)
    got, offset = b"", 0
    while (chunk := masker.read(log, offset, limit, ended=True)).data:
        assert chunk.offset == offset
        assert chunk.size == len(data)
        got, offset = got + chunk.data, chunk.next_offset
    assert got == whole


@given(logs_with(), st.integers(-60, 60), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_a_piece_from_anywhere_is_that_of_the_whole(made: tuple[list[str], bytes], offset: int, limit: int) -> None:
    values, data = made
    chunk = Masker(values).read(a_log(data), offset, limit, ended=True)
    plain = a_log(data)(offset, limit)
    assert (chunk.offset, chunk.next_offset, chunk.size) == (plain.offset, plain.next_offset, plain.size)
    assert chunk.data == Masker(values).mask(data)[plain.offset : plain.next_offset]


@given(logs_with(), st.lists(st.integers(0, 30), max_size=12), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_following_a_growing_log_shows_the_same(made: tuple[list[str], bytes], growth: list[int], limit: int) -> None:
    """However much is written between two looks, no piece shows what a later one would have masked."""
    values, data = made
    masker, got, written = Masker(values), b"", 0
    for more in growth:
        written = min(len(data), written + more)
        got += masker.read(a_log(data[:written]), len(got), limit, ended=False).data
        assert Masker(values).mask(data).startswith(got)
    while chunk := masker.read(a_log(data), len(got), limit, ended=True).data:
        got += chunk
    assert got == Masker(values).mask(data)


VALUE = "pa55/wörd+\"'\\ok"


@pytest.mark.parametrize(
    "printed",
    [
        VALUE.encode(),
        json.dumps({"password": VALUE}).encode(),
        json.dumps({"password": VALUE}, ensure_ascii=False).encode(),
        repr({"password": VALUE}).encode(),
        repr(VALUE.encode()).encode(),
        urllib.parse.quote(VALUE).encode(),
        urllib.parse.urlencode({"password": VALUE}).encode(),
        f"postgresql://me:{urllib.parse.quote(VALUE, safe='')}@host/db".encode(),
        base64.b64encode(VALUE.encode()),
        base64.urlsafe_b64encode(VALUE.encode()),
    ],
)
def test_it_is_known_in_the_usual_encodings(printed: bytes) -> None:
    masked = Masker([VALUE]).mask(b"before " + printed + b" after")
    assert masked.startswith(b"before ")
    assert masked.endswith(b" after")
    shown = masked.removeprefix(b"before ").removesuffix(b" after").replace(b"=", b"")
    left = shown.strip(b"abcdefghijklmnopqrstuvwxyz{}\"': /@").strip(b"*")
    assert left == b"", shown


@pytest.mark.parametrize(
    ("user", "clear"), [("a", ("YTp", "k6eA==")), ("al", ("YWw6", "Ong=")), ("ali", ("YWxpOm", "Tp4"))]
)
def test_it_is_known_within_base64_of_something_longer(user: str, clear: tuple[str, str]) -> None:
    """As in the header of an HTTP request; what stays clear of it is a part of its first and of its last letter."""
    header = base64.b64encode(f"{user}:correct-horse-battery:x".encode())
    masked = Masker(["correct-horse-battery"]).mask(header).decode()
    stars = len(header) - len("".join(clear))
    assert masked == f"{clear[0]}{'*' * stars}{clear[1]}"


def test_short_values_are_left_alone_and_spaces_around_them_do_not_count() -> None:
    assert Masker(["", "abc", "    ", " ab "]).mask(b"    abc ab") == b"    abc ab"
    assert Masker([" secret\n"]).mask(b"is secret.") == b"is ******."
    assert Masker([]).mask(b"x") == b"x"


def test_lines_of_a_key_are_masked_one_by_one_and_stay_lines() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\nend\n-----END KEY-----\n"
    assert (
        Masker([key]).mask(key.encode()).decode()
        == "".join("*" * len(line) + "\n" for line in key.splitlines()[:-1]) + "*" * len("-----END KEY-----") + "\n"
    )
    assert Masker([key]).mask(b"[0] MIIEvQIBADANBg\r\n[0] kqhkiG9w0BAQEF\r\n[0] end") == (
        b"[0] **************\r\n[0] **************\r\n[0] end"
    )


def test_values_that_overlap_are_masked_together() -> None:
    assert Masker(["abab"]).mask(b"xababaxabab") == b"x****ax****"
    assert Masker(["abab"]).mask(b"ababab.") == b"******."
    assert Masker(["cdef", "defghi"]).mask(b"abcdefghij") == b"ab*******j"


def test_a_huge_value_straddles_pieces() -> None:
    value = "".join(chr(97 + number % 23) for number in range(32 * 1024))
    data = b"x" * 1000 + value.encode() + b"y" * 1000
    masker, got = Masker([value]), b""
    while piece := masker.read(a_log(data), len(got), 4096, ended=True).data:
        got += piece
    assert got == b"x" * 1000 + b"*" * len(value) + b"y" * 1000


def test_many_values_cost_little_more_than_few() -> None:
    """Counted in what is searched for, not in time: of 200 values, only those that may be there."""
    values = [hashlib.sha256(bytes([number])).hexdigest() for number in range(200)]
    masker = Masker(values)
    text = b"2026-11-24 INFO worker 3 wrote part-00017.parquet\n" * 5000
    assert list(masker._present(text)) == []
    assert len(list(masker._present(text + values[17].encode()))) < 30
