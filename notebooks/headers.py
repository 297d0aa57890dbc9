"""What passes between a browser and a notebook server, and what does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from notebooks.access import Refusal

Headers = Iterable[tuple[bytes, bytes]]

VISIT_COOKIE = "portal-notebook"
SECRET_HEADER = "X-Portal-Notebook"  # noqa: S105 - its name
PASSED_COOKIE = "_xsrf"
"""Jupyter's own, the only cookie that goes either way. The portal's stay here."""

_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"),
    *(b"transfer-encoding", b"upgrade", b"proxy-connection"),
}
_KEPT_FROM_SERVERS = {
    *(b"cookie", b"authorization", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    *(b"x-real-ip", SECRET_HEADER.lower().encode()),
}
_KEPT_FROM_BROWSERS = {b"service-worker-allowed", b"clear-site-data", b"strict-transport-security", b"alt-svc"}
"""What a server, which runs its owner's code, may not say for the whole of the notebooks' host."""

_READING = {"GET", "HEAD", "OPTIONS"}


def get(headers: Headers, name: bytes) -> str:
    """The value of a header; empty where there is none."""
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def cookies(headers: Headers) -> dict[str, str]:
    """All cookies of a request; the first of a name counts, which is the one with the longest path."""
    found: dict[str, str] = {}
    for key, value in headers:
        if key == b"cookie":
            for part in value.decode("latin-1").split(";"):
                name, _, content = part.strip().partition("=")
                found.setdefault(name, content)
    return found


def to_server(scope: dict[str, Any], secret: str) -> list[tuple[str, str]]:
    """The headers that a server gets."""
    dropped = {name.strip().lower().encode() for name in get(scope["headers"], b"connection").split(",")}
    passed = [
        (key.decode("latin-1"), value.decode("latin-1"))
        for key, value in scope["headers"]
        if key not in _HOP_BY_HOP
        and key not in _KEPT_FROM_SERVERS
        and key not in dropped
        and not key.startswith(b"sec-websocket")
    ]
    if xsrf := cookies(scope["headers"]).get(PASSED_COOKIE):
        passed.append(("Cookie", f"{PASSED_COOKIE}={xsrf}"))
    return [*passed, (SECRET_HEADER, secret), ("X-Forwarded-Proto", urlsplit(settings.PORTAL_NOTEBOOK_ORIGIN).scheme)]


def to_browser(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that a browser gets."""
    passed = []
    for key, value in headers:
        name = key.lower()
        if name in _HOP_BY_HOP or name in _KEPT_FROM_BROWSERS:
            continue
        if name == b"set-cookie" and value.partition(b"=")[0].strip() != PASSED_COOKIE.encode():
            continue
        passed.append((name, value))
    return [*passed, (b"referrer-policy", b"same-origin"), (b"x-content-type-options", b"nosniff")]


def check_origin(scope: dict[str, Any]) -> None:
    """Writes and sockets come from the notebooks' own pages. Raises Refusal."""
    origin = get(scope["headers"], b"origin")
    site = get(scope["headers"], b"sec-fetch-site")
    if scope["type"] == "websocket":
        fine = origin == settings.PORTAL_NOTEBOOK_ORIGIN
    elif scope["method"] in _READING:
        navigates = get(scope["headers"], b"sec-fetch-mode") == "navigate"
        fine = navigates or site in ("", "same-origin", "none")
    else:
        fine = origin == settings.PORTAL_NOTEBOOK_ORIGIN if origin else site in ("", "same-origin")
    if not fine:
        message = "A page of another site asked for this."
        raise Refusal(403, "OriginNotAllowed", message, "Open “My notebook” in the portal, and do it there.")


def ticket_in(body: bytes) -> str:
    """The ticket in a form."""
    return dict(parse_qsl(body.decode("latin-1"))).get("ticket", "")


def visit_cookie(path: str, key: str) -> bytes:
    """Set in the one path, for the session of the browser, out of reach of scripts. Lax, since the way in comes from
    another site: the portal."""
    secure = "; Secure" if settings.PORTAL_NOTEBOOK_ORIGIN.startswith("https:") else ""
    return f"{VISIT_COOKIE}={key}; Path={path}; HttpOnly; SameSite=Lax{secure}".encode()
