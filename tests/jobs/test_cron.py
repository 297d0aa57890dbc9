"""Cron expressions and the clock: what they mean, and what daylight saving does to them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from jobs import cron
from portal.errors import UserError

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)  # Berlin goes from 2:00 to 3:00 on the 29th
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)  # and from 3:00 back to 2:00 on 25 October


def local(expression: str, zone: str, after: datetime, count: int = 4) -> list[str]:
    return [f"{fire.local:%d %H:%M %z}" for fire in cron.preview(expression, zone, after, count)]


def test_a_fixed_time_that_the_clock_jumps_over_runs_right_after_the_jump() -> None:
    assert local("30 2 * * *", "Europe/Berlin", SPRING, 3) == ["29 03:00 +0200", "30 02:30 +0200", "31 02:30 +0200"]


def test_the_page_shows_the_schedules_own_clock() -> None:
    from django.template.loader import render_to_string

    page = render_to_string("jobs/_ahead.html", {"ahead": cron.preview("30 2 * * *", "Asia/Tokyo", AUTUMN, 1)})
    assert "Sun 25 Oct 2026, 02:30" in page


def test_a_fixed_time_in_the_hour_that_comes_twice_runs_once() -> None:
    assert local("30 2 * * *", "Europe/Berlin", AUTUMN, 2) == ["25 02:30 +0200", "26 02:30 +0100"]


def test_every_half_hour_goes_by_the_time_that_passes() -> None:
    found = [fire.at for fire in cron.preview("*/30 * * * *", "Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC), 8)]
    assert {(later - sooner).total_seconds() for sooner, later in itertools.pairwise(found)} == {1800.0}


def test_the_preview_says_what_the_clock_does() -> None:
    notes = [fire.note for fire in cron.preview("30 2 * * *", "Europe/Berlin", AUTUMN, 3)]
    assert "twice" in notes[0]
    assert "set back" in notes[1]
    assert notes[2] == ""
    first, second = cron.preview("30 2 * * *", "Europe/Berlin", SPRING, 2)
    assert "forward" in first.note + second.note
    assert not any(fire.note for fire in cron.preview("30 2 * * *", "UTC", SPRING, 10))


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 9 * * MON-FRI", "2026-03-30 09:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 12 L * *", "2026-03-31 12:00"),
        ("15 10 * * 1#1", "2026-04-06 10:15"),
        ("  5   4  *  * SUN ", "2026-03-29 04:05"),
    ],
)
def test_what_expressions_mean(expression: str, first: str) -> None:
    found = cron.next_fire(cron.check(expression), "UTC", SPRING)
    assert found is not None
    assert f"{found:%F %H:%M}" == first


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "a b c d e", "*/0 * * * *", "0 0 30 2 *"),
        *("5-1 * * * *", "\x00 * * * *", "* * * * 9", "1" * 500 + " * * * *", "@daily", "٣ * * * *"),
    ],
)
def test_what_is_no_expression_is_refused_with_what_to_write(expression: str) -> None:
    with pytest.raises(UserError) as caught:
        cron.check(expression)
    assert caught.value.code == "CronInvalid"
    assert "five fields" in caught.value.hint


@pytest.mark.parametrize("name", ["", "Mars/Base", "../../etc/passwd", "/etc/passwd", "Europe/Berlin\x00", "x" * 10000])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="TimeZoneUnknown"):
        cron.zone(name)


def test_time_zones_to_choose_from() -> None:
    found = cron.time_zones()
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"} <= set(found)
    assert all(cron.zone(name) for name in found)


def test_fires_grow_strictly_whatever_the_clock_does() -> None:
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"):
        for expression in ("*/20 * * * *", "30 2 * * *", "15,45 1-3 * * *"):
            found = [fire.at for fire in cron.preview(expression, zone, SPRING, 300)]
            assert len(found) == 300
            assert all(sooner < later for sooner, later in itertools.pairwise(found))
