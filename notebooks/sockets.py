"""Websockets: two pumps, and the question every two seconds whether the visit still stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import aiohttp
from yarl import URL

from notebooks import headers
from notebooks.access import Refusal, Upstream, not_running, stale
from notebooks.upstream import Client

RECHECK_SECONDS = 1.0
"""Between two questions. With the question itself and a busy machine, an end is seen within 2 s."""

FORBIDDEN = 4403
_UNSENDABLE = {None, 1005, 1006, 1015}
"""Codes that say how a connection ended and cannot be sent."""


class Watch:
    """Asks for all sockets of a visit at once; ten tabs cost one question."""

    def __init__(self, allowed: Callable[[str, UUID], Awaitable[bool]]) -> None:
        self._allowed = allowed
        self._watched: dict[tuple[str, UUID], set[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, key: str, server: UUID) -> Callable[[], Awaitable[None]]:
        """A coroutine function that returns when the visit is over."""

        async def until_over() -> None:
            over = asyncio.Event()
            events = self._watched.get((key, server))
            if events is None:
                events = self._watched[key, server] = set()
                task = asyncio.ensure_future(self._ask((key, server), events))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            events.add(over)
            try:
                await over.wait()
            finally:
                events.discard(over)

        return until_over

    async def _ask(self, visit: tuple[str, UUID], events: set[asyncio.Event]) -> None:
        try:
            while True:
                await asyncio.sleep(RECHECK_SECONDS)
                if not events:
                    return
                if not await self._allowed(*visit):
                    return
        finally:
            del self._watched[visit]
            for event in events:
                event.set()


async def relay(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    client: Client,
    target: URL,
    upstream: Upstream,
    until_over: Callable[[], Awaitable[None]],
) -> None:
    """Serve one socket until either side closes it, or the visit is over. Raises Refusal before it is accepted."""
    await receive()  # websocket.connect
    try:
        socket = await client.session.ws_connect(
            target,
            headers=headers.to_server(scope, upstream.secret),
            protocols=scope.get("subprotocols") or (),
            max_msg_size=0,
            compress=0,
        )
    except aiohttp.WSServerHandshakeError as error:
        if error.status in (403, 404):
            raise Refusal(error.status, "NotebookRefused", "The notebook server refused the connection.", "") from error
        raise not_running("") from error
    except (aiohttp.ClientError, OSError) as error:
        raise not_running("") from error
    try:
        await send({"type": "websocket.accept", "subprotocol": socket.protocol})
        tasks = {
            asyncio.ensure_future(work)
            for work in (_upward(receive, socket), _downward(socket, send), _end(until_over, send))
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if (
                not task.cancelled()
                and (failure := task.exception())
                and not isinstance(failure, OSError | RuntimeError)
            ):
                raise failure
    finally:
        await socket.close()


async def _upward(receive: Callable[[], Awaitable[Any]], socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("bytes") is not None:
            await socket.send_bytes(message["bytes"])
        else:
            await socket.send_str(message["text"])


async def _downward(socket: aiohttp.ClientWebSocketResponse, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await send({"type": "websocket.send", "bytes": message.data})
        elif message.type is aiohttp.WSMsgType.TEXT:
            await send({"type": "websocket.send", "text": message.data})
    code = socket.close_code
    with suppress(RuntimeError):
        await send({"type": "websocket.close", "code": 1011 if code in _UNSENDABLE else code})


async def _end(until_over: Callable[[], Awaitable[None]], send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    await until_over()
    await send({"type": "websocket.close", "code": FORBIDDEN, "reason": stale().code})
