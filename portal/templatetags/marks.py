"""The small marks that lists repeat by the hundred. In Python, because including a template costs ten times as much."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

register = template.Library()


@register.simple_tag
def badge(status: str, *, active: bool = False) -> SafeString:
    """A status as people see it; ``active`` is one that something is being done about."""
    if not status:
        return SafeString()
    shown, kind = escape(str(status)), "badge active" if active else "badge"
    dot = '<span class="badge-dot" aria-hidden="true"></span>'
    return SafeString(f'<span class="{kind}" data-status="{shown}">{dot}{shown}</span>')


@register.simple_tag
def moment(at: datetime | None, *, kind: str = "short", until: datetime | None = None, none: str = "–") -> SafeString:
    """A time in UTC, which the page's script rewrites for the reader's zone, as ``kind`` says. With ``until``, the
    time between. A ``countdown`` also says how many seconds are left: the reader's clock may be wrong."""
    if not at:
        return SafeString(f'<span class="muted">{escape(none)}</span>')
    opening = f'<time datetime="{_iso(at)}" data-time="{escape(kind)}"'
    if kind == "countdown":
        opening += f' data-left="{(at - timezone.now()).total_seconds():.1f}"'
    if until:
        return SafeString(f'{opening} data-until="{_iso(until)}">{escape(timesince(at, until))}</time>')
    clock = "%H:%M:%S" if kind == "full" else "%H:%M"
    return SafeString(f"{opening}>{at.astimezone(UTC):%Y-%m-%d {clock}} UTC</time>")


@register.simple_tag
def live_row(kind: str, row: Any, url: str, *, ended: bool) -> SafeString:
    """The attributes of a table's row that fetches itself again from ``url``: when the page hears of a change, and
    every four seconds until what it shows has ``ended``."""
    key, every = f"{kind}-{row.pk}", "" if ended else ", every 4s"
    return SafeString(
        f'id="{key}" data-live="{key}" data-name="{escape(row.name)}" hx-get="{url}" hx-trigger="refresh{every}" '
        f'hx-target="this" hx-swap="outerHTML"'
    )


_BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {"iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "Windows": "Windows", "Mac OS X": "macOS"}
_SYSTEMS |= {"CrOS": "ChromeOS", "Linux": "Linux"}


@register.filter
def device(user_agent: str) -> str:
    """A browser as its owner would call it: "Firefox on Linux". What is unknown, by its own first word."""
    browser = next((name for sign, name in _BROWSERS.items() if sign in user_agent), "")
    system = next((name for sign, name in _SYSTEMS.items() if sign in user_agent), "")
    known = " on ".join(part for part in (browser, system) if part)
    return known or user_agent.partition(" ")[0] or "an unknown program"


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
