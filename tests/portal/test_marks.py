"""Statuses and times in lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

from portal.templatetags.marks import badge, live_row, moment
from tests.fakes import Clock

AT = datetime(2026, 11, 1, 9, 30, 15, 250000, tzinfo=UTC)


def test_a_time_is_shown_in_utc_and_told_to_the_script() -> None:
    shown = '<time datetime="2026-11-01T09:30:15.250000Z" data-time="short">2026-11-01 09:30 UTC</time>'
    assert moment(AT) == shown
    assert moment(AT.astimezone(timezone(timedelta(hours=5)))) == shown


def test_a_span_of_time_has_two_ends() -> None:
    shown = moment(AT, kind="elapsed", until=AT + timedelta(minutes=3))
    assert 'data-until="2026-11-01T09:33:15.250000Z">3\xa0minutes</time>' in shown


def test_a_countdown_says_what_is_left_whatever_the_reader_s_clock_says(clock: Clock) -> None:
    shown = moment(clock.at + timedelta(minutes=2, seconds=0.5), kind="countdown")
    assert 'data-time="countdown" data-left="120.5">' in shown


def test_what_has_not_happened_has_no_time() -> None:
    assert moment(None) == '<span class="muted">–</span>'
    assert moment(None, none="<never>") == '<span class="muted">&lt;never&gt;</span>'


def test_a_badge_carries_its_status_and_hides_nothing_in_it() -> None:
    assert badge("RUNNING", active=True).startswith('<span class="badge active" data-status="RUNNING">')
    assert "<script>" not in badge("<script>")
    assert badge("") == ""


def test_a_row_fetches_itself_again_until_it_has_ended() -> None:
    row = SimpleNamespace(pk=7, name='<b> "x"')
    shown = live_row("run", row, "/w/1/jobs/7/row/", ended=False)
    assert shown == (
        'id="run-7" data-live="run-7" data-name="&lt;b&gt; &quot;x&quot;" hx-get="/w/1/jobs/7/row/" '
        'hx-trigger="refresh, every 4s" hx-target="this" hx-swap="outerHTML"'
    )
    assert 'hx-trigger="refresh"' in live_row("run", row, "/", ended=True)
