"""Connections to notebook servers, kept open between requests."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from portal.clouds.base import NotebookAddress

CONNECT_SECONDS = 5.0
_KEPT = 256
_LONGEST = 100
"""Characters that the path of a unix socket may have, with some to spare."""


class Client:
    """The connections to one server."""

    def __init__(self, address: NotebookAddress) -> None:
        self.users = 0
        self._folder: int | None = None
        connector: aiohttp.BaseConnector
        if address.socket:
            path = Path(address.socket)
            if len(os.fsencode(path)) > _LONGEST:
                self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                path = Path(f"/proc/self/fd/{self._folder}/{path.name}")
            connector = aiohttp.UnixConnector(path=str(path), limit=0)
            self.base = "http://localhost"
        else:
            connector = aiohttp.TCPConnector(limit=0)
            self.base = f"http://{address.host}:{address.port}"
        self.session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=1 << 18,
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.session.close()
        if self._folder is not None:
            os.close(self._folder)


class Clients:
    """One for each server that was used lately."""

    def __init__(self) -> None:
        self._clients: OrderedDict[NotebookAddress, Client] = OrderedDict()

    @asynccontextmanager
    async def use(self, address: NotebookAddress) -> AsyncIterator[Client]:
        """The client of a server, which is not closed while somebody uses it. Raises OSError where there is nothing."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = Client(address)
        self._clients.move_to_end(address)
        client.users += 1
        try:
            yield client
        finally:
            client.users -= 1
            await self._forget_some()

    async def _forget_some(self) -> None:
        if len(self._clients) <= _KEPT:
            return
        for address, client in list(self._clients.items()):
            if client.users == 0:
                del self._clients[address]
                await client.close()
                return
