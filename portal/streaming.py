"""Long answers in blocks. Under ASGI, Django would collect a plain iterator in memory before sending any of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from asgiref.sync import sync_to_async

BLOCK = 256 * 1024


async def blocks(read: Callable[[], bytes]) -> AsyncIterator[bytes]:
    """What ``read`` gives, until it gives nothing. ``read`` runs in a thread and must not use the database."""
    read_in_thread = sync_to_async(read, thread_sensitive=False)
    while block := await read_in_thread():
        yield block
