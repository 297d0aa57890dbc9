"""A real portal in front of a real JupyterLab, and what a browser does with them.

The Lab's environment is installed once per machine, beside the Bodo releases of the tests.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import aiohttp
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import connection
from django.test import Client
from yarl import URL

from notebooks.models import NotebookServer
from portal import reconcile


@dataclass
class Visitor:
    """A browser: its cookies on the portal, and the cookie of its visit."""

    portal: str
    visit: str = ""


@dataclass
class Stand:
    """The web process, and a server that runs."""

    port: int
    directory: Path
    server: NotebookServer
    files: Path
    process: subprocess.Popen[bytes] | None = None
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://notebooks.localhost:{self.port}"

    @property
    def base(self) -> str:
        return f"{self.origin}{self.server.path}"

    @property
    def log(self) -> str:
        return (self.directory / "web.log").read_text()

    def start_web(self) -> None:
        """As the launcher does it."""
        from portal.launcher import _uvicorn_arguments

        environment = {**os.environ, "DATABASE_URL": database_url(), **self.keys}
        environment |= {"SITE_URL": f"http://127.0.0.1:{self.port}", "FORWARDED_ALLOW_IPS": ""}
        command = [sys.executable, "-m", "uvicorn", *_uvicorn_arguments(self.port)]
        with (self.directory / "web.log").open("a") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.get("/healthz", host=f"127.0.0.1:{self.port}")[0] == 200:
                    return
            except OSError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    def stop_web(self, *, kill: bool = False) -> None:
        assert self.process is not None
        self.process.kill() if kill else self.process.terminate()
        self.process.wait(20)

    def request(
        self, method: str, path: str, body: Any = None, *, host: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """To the notebooks' host, or another. Header names are written with ``_``."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            link.request(method, path, body, {"Host": host or f"notebooks.localhost:{self.port}", **sent})
            answer = link.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def get(self, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", path, **more)

    def visit(self, path: str, visitor: Visitor, method: str = "GET", body: Any = None, **headers: str) -> Any:
        """A request to the server, by a page of JupyterLab."""
        sent = {"Origin": self.origin} if method != "GET" else {}
        sent |= {"Cookie": f"{visitor.visit}; sessionid=stolen; csrftoken=stolen", **headers}
        return self.request(method, self.server.path + path, body, **sent)

    def sign_in(self, user: Any) -> Visitor:
        client = Client()
        client.force_login(user)
        client.get("/organizations/new/")
        cookies = client.cookies
        return Visitor(f"sessionid={cookies['sessionid'].value}; csrftoken={cookies['csrftoken'].value}")

    def ticket(self, visitor: Visitor) -> str:
        """What the portal's page hands over."""
        token = visitor.portal.partition("csrftoken=")[2]
        status, headers, body = self.request(
            "POST",
            f"/w/{self.server.workspace_id}/notebook/open/",
            urlencode({"csrfmiddlewaretoken": token}),
            host=f"127.0.0.1:{self.port}",
            Cookie=visitor.portal,
            Content_Type="application/x-www-form-urlencoded",
        )
        assert status == 200, body[-2000:]
        assert headers["referrer-policy"] == "strict-origin"
        page = body.decode()
        assert f'action="{self.base}enter"' in page
        found = re.search(r'name="ticket" value="([^"]+)"', page)
        assert found is not None
        return found[1]

    def redeem(self, ticket: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        sent = {"Origin": f"http://127.0.0.1:{self.port}", "Content_Type": "application/x-www-form-urlencoded"}
        return self.request("POST", f"{self.server.path}enter", urlencode({"ticket": ticket}), **sent | headers)

    def enter(self, user: Any) -> Visitor:
        visitor = self.sign_in(user)
        status, headers, _ = self.redeem(self.ticket(visitor))
        assert status == 303
        assert headers["location"] == f"{self.server.path}lab"
        visitor.visit = headers["set-cookie"].partition(";")[0]
        return visitor


def make_stand(directory: Path, server: NotebookServer, files: Path) -> Stand:
    """Without the web process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = cast(int, probe.getsockname()[1])
    keys = {"SECRET_KEY": settings.SECRET_KEY, "PORTAL_MACHINE_ROOT": str(settings.PORTAL_MACHINE_ROOT)}
    keys["PORTAL_FERNET_KEYS"] = os.environ["PORTAL_FERNET_KEYS"]
    return Stand(port, directory, server, files, keys=keys)


def new_fernet_key() -> str:
    return Fernet.generate_key().decode()


def settle(server: NotebookServer, seconds: float = 300) -> NotebookServer:
    """What a worker does, until nothing is due."""
    deadline = time.monotonic() + seconds
    while True:
        reconcile.run("notebook", str(server.pk))
        server.refresh_from_db()
        if server.settled:
            return server
        assert time.monotonic() < deadline, server.progress_message
        NotebookServer.objects.filter(pk=server.pk, due_at__isnull=False).update(due_at=time_now())
        time.sleep(0.1)


def time_now() -> Any:
    from django.utils import timezone

    return timezone.now()


def database_url() -> str:
    given = connection.settings_dict
    user, password = quote(str(given["USER"])), quote(str(given["PASSWORD"]), safe="")
    return f"postgresql://{user}:{password}@{quote(str(given['HOST']), safe='')}:{given['PORT']}/{given['NAME']}"


class Page:
    """JupyterLab in a browser: its cookies, XSRF token, kernels and sockets."""

    def __init__(self, stand: Stand, session: aiohttp.ClientSession) -> None:
        self.stand, self.session = stand, session

    def url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.stand.port}{self.stand.server.path}{path}", encoded=True)

    async def post(self, path: str, content: Any) -> Any:
        async with self.session.post(self.url(path), json=content) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

    async def kernel(self, path: str = "") -> str:
        return cast(str, (await self.post("api/kernels", {"path": path}))["id"])

    def channels(self, kernel: str, session: str = "s") -> Any:
        """Of two with the same session, Jupyter closes the older one, and the newer gets what was missed."""
        return self.session.ws_connect(self.url(f"api/kernels/{kernel}/channels?session_id={session}"), max_msg_size=0)

    @staticmethod
    async def send(socket: aiohttp.ClientWebSocketResponse, code: str) -> str:
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": {**header, "date": ""}, "parent_header": {}, "metadata": {}, "content": content}
        await socket.send_json({**message, "channel": "shell"})
        return number

    @staticmethod
    async def output(socket: aiohttp.ClientWebSocketResponse, number: str) -> str:
        """What a cell wrote, once it has ended."""
        text = ""
        async for message in socket:
            told = json.loads(message.data)
            if told["parent_header"].get("msg_id") != number:
                continue
            if told["msg_type"] == "stream":
                text += told["content"]["text"]
            if told["msg_type"] == "error":
                text += told["content"]["ename"] + ": " + told["content"]["evalue"]
            if told["msg_type"] == "status" and told["content"]["execution_state"] == "idle":
                return text
        raise AssertionError(f"the socket was closed with {socket.close_code} after {text!r}")

    async def run(self, socket: aiohttp.ClientWebSocketResponse, code: str) -> str:
        number = await self.send(socket, code)
        return await asyncio.wait_for(self.output(socket, number), 60)


@asynccontextmanager
async def page(stand: Stand, visitor: Visitor) -> AsyncIterator[Page]:
    headers = {"Origin": stand.origin, "Host": f"notebooks.localhost:{stand.port}"}
    async with aiohttp.ClientSession(
        headers=headers, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        opened = Page(stand, session)
        async with session.get(opened.url("lab"), headers={"Cookie": visitor.visit}) as answer:
            assert answer.status == 200, await answer.text()
            xsrf = answer.cookies["_xsrf"].value
        session.headers["Cookie"] = f"{visitor.visit}; _xsrf={xsrf}; sessionid=stolen"
        session.headers["X-XSRFToken"] = xsrf
        yield opened
