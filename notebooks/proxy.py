"""The notebooks' host: everything that has its name comes here and nowhere else.

    POST /notebooks/<uuid>/enter      a ticket becomes a visit
    /notebooks/<uuid>/…               to the server, HTTP and websockets, streamed both ways
    /notebooks/portal.css             for our own pages here
    anything else                     to the portal

In the web process, without Django's handlers: a request costs one statement (``access``) and a hop over a unix socket.
Nothing of a request is kept or logged.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
from django.db import DatabaseError, InterfaceError, close_old_connections
from psycopg_pool import PoolTimeout
from yarl import URL

from notebooks import access, answers, headers
from notebooks.access import Gate, Refusal, Upstream
from notebooks.services_entry import redeem
from notebooks.sockets import Watch, relay
from notebooks.upstream import Client, Clients

PLACE = re.compile(r"/notebooks/(?P<server>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<rest>.*)", re.DOTALL)
NOTEBOOK = re.compile(r"api/contents/.*\.ipynb", re.IGNORECASE | re.DOTALL)
LARGEST_NOTEBOOK = 16 << 20
"""Bytes of a notebook that is saved."""

_LARGEST_FORM = 4096
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
logger = logging.getLogger(__name__)
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")


class Proxy:
    """The ASGI application."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.clients = Clients()
        self.threads = ThreadPoolExecutor(6, thread_name_prefix="notebooks")
        self.watch = Watch(self.allowed)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or serve one socket."""
        try:
            await self._answer(scope, receive, send)
        except Refusal as refusal:
            await answers.refuse(scope, receive, send, refusal)
        except (DatabaseError, InterfaceError, PoolTimeout):
            logger.exception("The database did not answer")
            message = "The portal cannot reach its database at the moment."
            away = Refusal(503, "DatabaseUnavailable", message, "Nothing was lost. Try again in a few seconds.")
            await answers.refuse(scope, receive, send, away)

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        place = PLACE.fullmatch(scope["path"])
        if place is None:
            await answers.elsewhere(scope, receive, send)
            return
        server, rest = UUID(place["server"]), place["rest"]
        if rest == "enter" and scope["type"] == "http":
            await self._enter(scope, receive, send, server)
            return
        headers.check_origin(scope)
        key = headers.cookies(scope["headers"]).get(headers.VISIT_COOKIE, "")
        upstream = await self.ask(key, server)
        try:
            async with self.clients.use(upstream.address) as client:
                if scope["type"] == "websocket":
                    target = self._target(client, scope)
                    await relay(scope, receive, send, client, target, upstream, self.watch.begin(key, server))
                else:
                    await self._pass(scope, receive, send, client, upstream, server, rest)
        except OSError as error:
            raise gone() from error

    async def ask(self, key: str, server: UUID) -> Upstream:
        """Whether a visit stands. Raises Refusal."""
        return await self._in_thread(lambda: self.gate.ask(key, server))

    async def allowed(self, key: str, server: UUID) -> bool:
        """The same as a question, for open sockets; a database that does not answer is no refusal."""
        try:
            await self.ask(key, server)
        except Refusal:
            return False
        except (DatabaseError, InterfaceError, PoolTimeout):
            return True
        return True

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Database work; the connection goes back to the pool at once."""

        def run() -> T:
            try:
                return work()
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self.threads, run)

    async def _enter(self, scope: dict[str, Any], receive: Receive, send: Send, server: UUID) -> None:
        """Only from the portal's own page: a ticket that another site sends would bring its sender's notebook into this
        browser."""
        if scope["method"] != "POST" or headers.get(scope["headers"], b"origin") not in answers.portal_origins():
            raise access.stale()
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] != "http.request" or len(body) > _LARGEST_FORM:
                raise access.stale()
            if not message.get("more_body"):
                break
        entered = await self._in_thread(lambda: redeem(server_id=server, key=headers.ticket_in(body)))
        if entered is None:
            raise access.stale()
        path = f"/notebooks/{server}/"
        cookie = headers.visit_cookie(path, entered[0])
        await answers.send(
            send,
            303,
            b"",
            [(b"location", f"{path}lab".encode()), (b"set-cookie", cookie), (b"cache-control", b"no-store")],
        )

    def _target(self, client: Client, scope: dict[str, Any]) -> URL:
        """The very bytes of the address: what is quoted stays quoted."""
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return URL(f"{client.base}{path}{'?' + query if query else ''}", encoded=True)

    async def _pass(
        self,
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
        client: Client,
        upstream: Upstream,
        server: UUID,
        rest: str,
    ) -> None:
        method = scope["method"]
        limit = LARGEST_NOTEBOOK if method == "PUT" and NOTEBOOK.fullmatch(rest) else None
        length = headers.get(scope["headers"], b"content-length")
        if limit is not None and length.isdigit() and int(length) > limit:
            raise too_large()
        if method in {"PUT", "POST", "PATCH", "DELETE"}:
            await self._in_thread(lambda: access.worked(server))
        body = Body(receive, limit)
        has_body = length not in ("", "0") or bool(headers.get(scope["headers"], b"transfer-encoding"))
        begun = False
        try:
            async with client.session.request(
                method,
                self._target(client, scope),
                headers=headers.to_server(scope, upstream.secret),
                data=body.chunks() if has_body else None,
                allow_redirects=False,
                skip_auto_headers=_SKIPPED,
            ) as response:
                start = {"status": response.status, "headers": headers.to_browser(response.raw_headers)}
                await send({"type": "http.response.start", **start})
                begun = True
                if method != "HEAD":
                    await _until_gone(_pump(response, send), receive, watch=body.over or not has_body)
                await send({"type": "http.response.body", "body": b""})
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            if begun:
                raise  # the browser sees an answer that is cut off
            if body.too_large:
                raise too_large() from error
            if body.cut_off:
                return
            raise gone() from error


class Body:
    """What a browser sends, piece by piece: the next is taken when the server has taken the one before."""

    def __init__(self, receive: Receive, limit: int | None) -> None:
        self.receive, self.limit = receive, limit
        self.too_large = self.cut_off = self.over = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises ConnectionError where it is too much, or the browser is gone."""
        taken = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.cut_off = True
                raise ConnectionResetError("the browser is gone")
            chunk = message.get("body", b"")
            taken += len(chunk)
            if self.limit is not None and taken > self.limit:
                self.too_large = True
                raise ConnectionAbortedError("too large")
            if chunk:
                yield chunk
            if not message.get("more_body"):
                self.over = True
                return


async def _pump(response: aiohttp.ClientResponse, send: Send) -> None:
    """The answer, piece by piece: ``send`` waits for a browser that is slow."""
    async for chunk in response.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _until_gone(pumping: Any, receive: Receive, *, watch: bool) -> None:
    """Pump until the end, or until the browser is gone: some answers have no end."""
    if not watch:
        await pumping
        return
    pump, gone_away = asyncio.ensure_future(pumping), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({pump, gone_away}, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        for task in (pump, gone_away):
            task.cancel()
        await asyncio.gather(pump, gone_away, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def too_large() -> Refusal:
    """413, with the guide's remedy."""
    return Refusal(
        413,
        "NotebookTooLarge",
        "This notebook is larger than 16 MB, and was not saved.",
        "Do not print large sections of text, and clear output cells with Edit > Clear Outputs of All Cells. Then save "
        "again. Data belongs into files of its own.",
    )


def gone() -> Refusal:
    """502 for a server that should answer."""
    return access.not_running("")


application = Proxy()
