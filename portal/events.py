"""What changed, told to the pages that show it.

``notify`` publishes a key such as ``cluster-<uuid>`` on a tenant's channel once the transaction has committed, and
``stream`` is the server-sent event stream of that channel. A lost message costs seconds: pages ask by themselves as
well while something is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import redis.asyncio as aioredis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, transaction
from django.http import StreamingHttpResponse
from redis.exceptions import RedisError

from portal import queue

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 2.0
KEEPALIVE_SECONDS = 15.0


def channel(tenant: UUID) -> str:
    """The name of the channel of an organization or workspace."""
    return f"portal:events:{tenant}"


def notify(tenant: UUID, key: str) -> None:
    """Tell the pages of a tenant that ``key`` changed, after the commit."""
    transaction.on_commit(lambda: _publish(tenant, key))


def _publish(tenant: UUID, key: str) -> None:
    try:
        queue.connection().publish(channel(tenant), key)
    except RedisError as error:
        logger.warning("Could not tell that %s changed: %s", key, error)


def stream(tenant: UUID, allowed: Callable[[], Awaitable[bool]]) -> StreamingHttpResponse:
    """The event stream of a tenant. ``allowed`` is asked every 2 s; the stream ends when it says no."""
    response = StreamingHttpResponse(_events(tenant, allowed), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _events(tenant: UUID, allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    connection = aioredis.Redis.from_url(settings.REDIS_URL)
    try:
        async with connection.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(channel(tenant))
            yield "retry: 1000\nevent: hello\ndata: hello\n\n"
            await _let_go()
            spoken = loop.time()
            due = spoken + RECHECK_SECONDS
            while True:
                left = due - loop.time()  # a message must not put the question off
                message = await subscription.get_message(timeout=max(left, 0.0))
                now = loop.time()
                if now >= due:
                    due = now + RECHECK_SECONDS
                    still = await allowed()
                    await _let_go()
                    if not still:
                        return
                if message is not None:
                    spoken = now
                    yield f"event: changed\ndata: {message['data'].decode()}\n\n"
                elif now - spoken >= KEEPALIVE_SECONDS:
                    spoken = now
                    yield ": still here\n\n"
    except RedisError as error:
        logger.warning("An event stream ended: %s", error)
    finally:
        with contextlib.suppress(RedisError, asyncio.CancelledError):
            await connection.aclose()


async def _let_go() -> None:
    """Give the database connection back: a stream lasts for hours, and a dozen of them would hold the whole pool."""
    await sync_to_async(close_old_connections)()
