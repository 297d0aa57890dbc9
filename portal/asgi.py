"""The ASGI entry point, for uvicorn."""

from __future__ import annotations

import io
import logging
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup(set_prefix=False)

from asgiref.sync import sync_to_async  # noqa: E402 - what follows needs the settings
from django.conf import settings  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.exceptions import RequestAborted  # noqa: E402
from django.core.handlers.asgi import ASGIHandler, ASGIRequest  # noqa: E402
from django.db import close_old_connections  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from portal.middleware import fence  # noqa: E402
from portal.views import explained, too_large  # noqa: E402

BLOCK = 1024 * 1024
UPLOAD = re.compile(r"/w/(?P<workspace>[0-9a-f-]{36})/files/upload/")
logger = logging.getLogger(__name__)
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class TooLargeError(Exception):
    """More was sent than the address takes."""


class Handler(ASGIHandler):
    """Django's handler, but for how it takes what is sent.

    Django would spool a body of any size, from anybody, in the machine's temporary directory (which is often memory)
    and block the event loop with it. Here only an upload may be large, and it goes to the disk where files will live.
    """

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Any) -> None:
        if _is_for_notebooks(scope):
            await import_string(settings.NOTEBOOK_PROXY)(scope, receive, send)
            return
        if scope["type"] == "websocket":  # the portal's own pages need none
            await receive()
            await send({"type": "websocket.close"})
            return
        try:
            await super().__call__(scope, receive if await _may_be_large(scope) else _bounded(scope, receive), send)
        except (TooLargeError, BodyError) as error:  # nothing was answered yet: the body comes before all else
            known = too_large(None) if isinstance(error, TooLargeError) else explained(None, error.__cause__)
            if known is None:
                raise
            await self.send_response(fence(known), send)

    async def read_body(self, receive: Receive) -> Any:
        """The body, in memory while it is small."""
        body = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - Django closes it
            settings.FILE_UPLOAD_MAX_MEMORY_SIZE, "w+b", dir=str(settings.FILE_UPLOAD_TEMP_DIR)
        )
        write = sync_to_async(body.write, thread_sensitive=False)
        waiting, more = bytearray(), True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                waiting += message.get("body", b"")
                more = message.get("more_body", False)
                if len(waiting) >= BLOCK:
                    await write(bytes(waiting))
                    waiting.clear()
            body.write(waiting)
            body.seek(0)
        except OSError as error:
            body.close()
            raise BodyError from error
        except BaseException:
            body.close()
            raise
        return body


def _is_for_notebooks(scope: dict[str, Any]) -> bool:
    """By the host's name alone: that host serves nothing of the portal's, and the portal's nothing of notebooks."""
    host = next((value for key, value in scope["headers"] if key == b"host"), b"")
    return bool(settings.PORTAL_NOTEBOOK_HOST) and host.decode("latin-1").lower() == settings.PORTAL_NOTEBOOK_HOST


class BodyError(Exception):
    """The body could not be spooled."""


async def _may_be_large(scope: dict[str, Any]) -> bool:
    """Only an upload by somebody who may upload there: a body is spooled before any view looks at who sends it."""
    if scope["type"] != "http":
        return True
    found = UPLOAD.fullmatch(scope["path"])
    if found is None:
        return False
    return await sync_to_async(_uploader, thread_sensitive=False)(scope, found["workspace"])


def _uploader(scope: dict[str, Any], workspace: str) -> bool:
    request = ASGIRequest(scope, io.BytesIO())
    try:
        request.session = SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
        allowed: bool = import_string(settings.UPLOAD_GUARD)(request, workspace)
        return allowed
    except Exception:  # whatever is wrong with it, the view will say
        logger.info("An upload by somebody unknown", exc_info=True)
        return False
    finally:
        close_old_connections()


def _bounded(scope: dict[str, Any], receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Mapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLargeError
        return message

    return bounded


application = Handler()
