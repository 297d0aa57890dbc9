"""The ASGI entry point, for uvicorn."""

from __future__ import annotations

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
from django.core.exceptions import RequestAborted  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402

from portal.middleware import fence  # noqa: E402
from portal.views import explained, too_large  # noqa: E402

BLOCK = 1024 * 1024
UPLOAD = re.compile(r"/w/[0-9a-f-]{36}/files/upload/")
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class TooLargeError(Exception):
    """More was sent than the address takes."""


class Handler(ASGIHandler):
    """Django's handler, but for how it takes what is sent.

    Django would spool a body of any size, from anybody, in the machine's temporary directory (which is often memory)
    and block the event loop with it. Here only an upload may be large, and it goes to the disk where files will live.
    """

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Any) -> None:
        try:
            await super().__call__(scope, _bounded(scope, receive), send)
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


class BodyError(Exception):
    """The body could not be spooled."""


def _bounded(scope: dict[str, Any], receive: Receive) -> Receive:
    if scope["type"] != "http" or UPLOAD.fullmatch(scope["path"]):
        return receive
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
