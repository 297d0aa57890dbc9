"""From ledger to money: the pure functions against a count by hand, minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.months import Month
from billing.usage import Interval, cost, intervals, minutes_between, minutes_within
from clusters.models import Transition

START = datetime(2026, 10, 30, 12, 0, tzinfo=UTC)
Line = tuple[str, str, int]


def ledger(*lines: tuple[float, str, str, int], kind: str = "local.1x") -> list[Transition]:
    """Lines of (minutes after the start, kind, status, instances)."""
    return [
        Transition(
            seq=seq, at=START + timedelta(minutes=at), kind=what, status=status, instances=instances, instance_type=kind
        )
        for seq, (at, what, status, instances) in enumerate(lines, 1)
    ]


def found(*lines: tuple[float, str, str, int]) -> list[tuple[float, float | None, int]]:
    """The intervals of a ledger as (from minute, to minute, instances)."""
    return [
        (
            (each.started_at - START) / timedelta(minutes=1),
            (each.ended_at - START) / timedelta(minutes=1) if each.ended_at else None,
            each.instances,
        )
        for each in intervals(ledger(*lines))
    ]


MADE = ((0, "REQUEST", "RUNNING", 2), (1, "STATUS", "INPROGRESS", 0), (5, "STATUS", "RUNNING", 2))


def test_it_opens_when_the_cluster_is_deployed() -> None:
    assert found(*MADE) == [(5, None, 2)]


def test_a_failed_creation_is_free() -> None:
    assert found(*MADE[:2], (6, "STATUS", "FAILED", 0), (7, "REQUEST", "TERMINATED", 2)) == []


@pytest.mark.parametrize("target", ["PAUSED", "STOPPED", "TERMINATED", "RESTART"])
def test_it_ends_when_somebody_asks_however_long_that_takes(target: str) -> None:
    assert found(*MADE, (20, "REQUEST", target, 2), (90, "STATUS", "PAUSING", 0)) == [(5, 20, 2)]


def test_it_ends_at_a_failure() -> None:
    assert found(*MADE, (20, "STATUS", "FAILED", 0), (30, "REQUEST", "TERMINATED", 2)) == [(5, 20, 2)]


def test_more_instances_count_from_when_they_are_there() -> None:
    assert found(*MADE, (10, "REQUEST", "RUNNING", 4), (15, "SCALED", "RUNNING", 4)) == [(5, 15, 2), (15, None, 4)]


def test_fewer_instances_count_from_when_the_others_are_gone() -> None:
    assert found(*MADE, (10, "REQUEST", "RUNNING", 1), (15, "SCALED", "RUNNING", 1)) == [(5, 15, 2), (15, None, 1)]


def test_instances_that_never_came_cost_nothing() -> None:
    assert found(*MADE, (10, "REQUEST", "RUNNING", 4), (15, "SCALED", "RUNNING", 2)) == [(5, None, 2)]


def test_a_reduction_that_is_taken_back_is_charged_in_full() -> None:
    lines = ((10, "REQUEST", "RUNNING", 1), (11, "REQUEST", "RUNNING", 2), (15, "SCALED", "RUNNING", 2))
    assert found(*MADE, *lines) == [(5, None, 2)]


def test_a_restart_is_not_charged() -> None:
    again = ((10, "REQUEST", "RESTART", 2), (11, "STATUS", "INPROGRESS", 0), (14, "STATUS", "RUNNING", 2))
    assert found(*MADE, *again) == [(5, 10, 2), (14, None, 2)]


def test_a_request_for_the_same_does_not_cut_the_interval() -> None:
    assert found(*MADE, (10, "REQUEST", "RUNNING", 2)) == [(5, None, 2)]


def test_something_that_took_no_time_is_no_interval() -> None:
    assert found(*MADE, (5, "REQUEST", "PAUSED", 2)) == []


# --- minutes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [(0, 0), (29, 0), (29.999999, 0), (30, 1), (89.999999, 1), (90, 2), (-100, 0), (2678400.0, 44640)],
)
def test_minutes_are_half_up(seconds: float, minutes: int) -> None:
    assert minutes_between(START, START + timedelta(seconds=seconds)) == minutes


STATUS_LINES: list[Line] = [
    *(("STATUS", status, 0) for status in ("INPROGRESS", "INITIALIZING", "PAUSING", "PAUSED", "FAILED", "STOPPED")),
    *(("STATUS", "RUNNING", n) for n in (1, 2, 3)),
    *(("SCALED", "RUNNING", n) for n in (1, 2, 3)),
    *(("REQUEST", "RUNNING", n) for n in (1, 2, 3, 5)),
    *(("REQUEST", target, 2) for target in ("PAUSED", "STOPPED", "TERMINATED", "RESTART")),
]
LEDGERS = st.lists(st.tuples(st.integers(0, 90), st.sampled_from(STATUS_LINES)), max_size=25)


def charged_at_each_minute(lines: list[Transition], minutes: int, start: datetime = START) -> list[int]:
    """How many instances are charged for in each minute, by walking through the ledger for each anew."""
    result = []
    for minute in range(minutes):
        now, charged = start + timedelta(minutes=minute), 0
        for line in lines:
            if line.at > now:
                break
            if line.kind == "REQUEST":
                charged = charged if line.status == "RUNNING" else 0
            elif line.kind == "SCALED":
                charged = line.instances if charged else 0
            else:
                charged = line.instances if line.status == "RUNNING" else 0
        result.append(charged)
    return result


@settings(max_examples=150, deadline=None)
@given(LEDGERS)
def test_any_ledger_is_charged_as_a_count_by_hand(steps: list[tuple[int, Line]]) -> None:
    at, lines = 0, []
    for pause, line in steps:
        at += pause
        lines.append((float(at), *line))
    made = ledger(*lines)
    end = at + 10
    got = intervals(made)
    for before, after in pairwise(got):
        assert before.ended_at is not None
        assert before.started_at < before.ended_at <= after.started_at
    total = sum(
        minutes_between(each.started_at, each.ended_at or START + timedelta(minutes=end)) * each.instances
        for each in got
    )
    assert total == sum(charged_at_each_minute(made, end))
    assert intervals(made) == got


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 4_000_000),
    st.integers(0, 8_000_000),
    st.lists(st.integers(-1_000_000, 13_000_000), max_size=12),
)
def test_parts_of_an_interval_add_up_to_the_whole(offset: int, length: int, cuts: list[int]) -> None:
    """Days and months, or any other cuts."""
    start = START + timedelta(seconds=offset)
    end = start + timedelta(seconds=length)
    edges = sorted(
        [START - timedelta(days=30), START + timedelta(days=300), *(START + timedelta(seconds=c) for c in cuts)]
    )
    parts = [minutes_within(start, end, first, last) for first, last in pairwise(edges)]
    assert sum(parts) == minutes_between(start, end)
    assert all(part >= 0 for part in parts)
    hourly = Decimal("0.123457")
    together = sum((cost(part, 3, hourly) for part in parts), Decimal(0))
    assert abs(together - cost(sum(parts), 3, hourly)) < Decimal("1e-12")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
def test_neither_zones_nor_daylight_saving_make_or_lose_minutes(zone: str) -> None:
    """Berlin's clocks went back on October 25, 2026 at 1:00 UTC, and New York's a week later."""
    for start in (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 0, 30, tzinfo=UTC)):
        local = start.astimezone(ZoneInfo(zone)), (start + timedelta(hours=24)).astimezone(ZoneInfo(zone))
        assert minutes_between(*local) == 24 * 60
        assert minutes_within(*local, start, start + timedelta(hours=1)) == 60


def test_a_leap_second_is_no_minute() -> None:
    """Computers' clocks repeat or stretch it: from midnight to midnight it is a day."""
    assert minutes_between(datetime(2016, 12, 31, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC)) == 24 * 60
    assert minutes_between(datetime(2028, 2, 28, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)) == 2 * 24 * 60


def test_money_is_exact_and_decimal() -> None:
    price = cost(7, 3, Decimal("0.100000"))
    assert isinstance(price, Decimal)
    assert price == Decimal("0.035")


def test_an_interval_knows_its_type() -> None:
    lines = [*ledger(*MADE, (9, "REQUEST", "STOPPED", 2)), *ledger((20, "STATUS", "RUNNING", 1), kind="local.4x")]
    assert [(each.instance_type, each.instances) for each in intervals(lines)] == [("local.1x", 2), ("local.4x", 1)]
    assert intervals(lines)[1] == Interval(START + timedelta(minutes=20), None, "local.4x", 1)


# --- months ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "2026-13", "0001-01", "9999-12", "2026-1-1", "２０２６-11x"])
def test_what_is_no_month_is_this_month(text: str) -> None:
    month = Month.parse(text, date(2026, 11, 21))
    assert str(month) == "2026-11"


def test_a_month_has_neighbours_and_days() -> None:
    month = Month.parse("2028-02", date(2026, 11, 21))
    assert (str(month.previous), str(month.next), len(month.days())) == ("2028-01", "2028-03", 29)
    assert month.end - month.start == timedelta(days=29)
