"""The small marks that lists repeat by the hundred. In Python, because including a template costs ten times as much."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

register = template.Library()


@register.simple_tag
def badge(status: str, *, active: bool = False) -> SafeString:
    """A status as people see it; ``active`` is one that something is being done about."""
    if not status:
        return SafeString()
    dot = SafeString('<span class="badge-dot" aria-hidden="true"></span>')
    shown = str(status)
    return format_html(
        '<span class="badge {}" data-status="{}">{}{}</span>', "active" if active else "", shown, dot, shown
    )


@register.simple_tag
def moment(at: datetime | None, *, kind: str = "short", until: datetime | None = None, none: str = "–") -> SafeString:
    """A time in UTC, which the page's script rewrites for the reader's zone, as ``kind`` says. With ``until``, the
    time between."""
    if not at:
        return format_html('<span class="muted">{}</span>', none)
    if until:
        return format_html(
            '<time datetime="{}" data-time="{}" data-until="{}">{}</time>',
            _iso(at),
            kind,
            _iso(until),
            timesince(at, until),
        )
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return format_html('<time datetime="{}" data-time="{}">{}</time>', _iso(at), kind, text)


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
