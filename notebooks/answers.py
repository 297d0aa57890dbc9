"""What the notebooks' host itself says: refusals as our pages or as JSON, its style sheet, the way to the portal."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string

from notebooks import headers
from notebooks.access import Refusal
from portal.views import TITLES

Send = Callable[[dict[str, Any]], Awaitable[None]]

_OWN = {
    "/notebooks/portal.css": ("portal/portal.css", b"text/css; charset=utf-8"),
    "/notebooks/favicon.svg": ("portal/favicon.svg", b"image/svg+xml"),
}
_FENCES = [
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_TITLES = {403: "This notebook cannot be opened", 404: "No notebook server runs", 502: "The notebook does not answer"}


def portal_origins() -> set[str]:
    """Where the portal's own pages come from."""
    parts = urlsplit(settings.SITE_URL)
    return {f"{parts.scheme}://{parts.netloc}", *settings.CSRF_TRUSTED_ORIGINS} - {settings.PORTAL_NOTEBOOK_ORIGIN}


async def send(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    """A whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *more]})
    await send({"type": "http.response.body", "body": body})


async def elsewhere(scope: dict[str, Any], receive: Any, reply: Send) -> None:
    """What is no notebook: our style sheet, or the way to the portal."""
    if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
        if scope["path"] in _OWN:
            name, kind = _OWN[scope["path"]]
            cached = (b"cache-control", b"max-age=300")
            await send(reply, 200, _file(name), [(b"content-type", kind), cached, *_FENCES])
        else:
            await send(reply, 302, b"", [(b"location", f"{settings.SITE_URL}/".encode()), *_FENCES])
        return
    raise Refusal(404, "NotFound", "There is nothing here.", "Go to the portal.")


async def refuse(scope: dict[str, Any], receive: Any, reply: Send, refusal: Refusal) -> None:
    """A page for people, JSON for JupyterLab, which shows ``message`` in a dialog."""
    wants_page = scope["type"] == "http" and "text/html" in headers.get(scope["headers"], b"accept")
    if wants_page:
        context = {
            "status": refusal.status,
            "title": _TITLES.get(refusal.status) or TITLES.get(refusal.status, TITLES[500]),
            "refusal": refusal,
            "portal": settings.SITE_URL,
        }
        kind, body = b"text/html; charset=utf-8", render_to_string("notebooks/refused.html", context).encode()
    else:
        text = f"{refusal.message} {refusal.hint}".strip()
        kind, body = b"application/json", json.dumps({"message": text, "reason": refusal.code}).encode()
    more = [(b"content-type", kind), (b"cache-control", b"no-store"), *_FENCES]
    if refusal.status == 413:
        more.append((b"connection", b"close"))  # the rest of it need not be sent
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await reply({"type": "websocket.close", "code": 4000 + refusal.status})
            return
        length = (b"content-length", str(len(body)).encode())
        await reply({"type": "websocket.http.response.start", "status": refusal.status, "headers": [length, *more]})
        await reply({"type": "websocket.http.response.body", "body": body})
        return
    await send(reply, refusal.status, b"" if scope["method"] == "HEAD" else body, more)


@lru_cache
def _file(name: str) -> bytes:
    path = finders.find(name)
    return Path(path).read_bytes() if path else b""
