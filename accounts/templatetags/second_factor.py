"""What the pages about passkeys and codes have to know."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django import template
from django.conf import settings

from accounts.models import Organization
from accounts.second_factor import WAY_BACK, has_second_factor, is_last_factor

register = template.Library()


@register.simple_tag(takes_context=True)
def passkey_obstacle(context: dict[str, Any]) -> dict[str, str] | None:
    """Why this address of the portal can have no passkeys, and the one that can; None where there is no obstacle.

    A passkey belongs to a host name, and browsers refuse IP numbers. On the machine itself ``localhost`` is its name.
    """
    request = context["request"]
    host = urlsplit(f"//{request.get_host()}")
    number = _number(host.hostname)
    if number is None:
        return None
    if number.is_loopback:
        port = f":{host.port}" if host.port else ""
        return {"host": host.hostname or "", "elsewhere": f"{request.scheme}://localhost{port}{request.path}"}
    site = settings.SITE_URL if _number(urlsplit(settings.SITE_URL).hostname) is None else ""
    return {"host": host.hostname or "", "elsewhere": f"{site}{request.path}" if site else ""}


@register.simple_tag(takes_context=True)
def way_back(context: dict[str, Any]) -> str:
    """The page that somebody could not enter for want of a second factor, once they have one; else empty."""
    request = context["request"]
    path: str = request.session.get(WAY_BACK, "")
    return path if path and has_second_factor(request.user) else ""


@register.simple_tag(takes_context=True)
def organizations_that_ask(context: dict[str, Any]) -> list[Organization]:
    """Those that would let the person in no more without the one second factor they have."""
    user = context["request"].user
    return list(Organization.objects.of(user).filter(require_second_factor=True)) if is_last_factor(user) else []


def _number(host: str | None) -> Any:
    try:
        return ip_address(host or "")
    except ValueError:
        return None
