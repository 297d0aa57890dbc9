"""What we add to a Jupyter server: who may use it, kernels that nobody overhears, terminals without /dev/pts, and word
of when somebody last did something. Runs inside the sandbox.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import socket
import termios
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado.ioloop import PeriodicCallback
from traitlets import Unicode, default

HEADER = "X-Portal-Notebook"
"""Holds the secret that only the portal and this server know."""

TELL_SECONDS = 2
control: socket.socket | None = None
"""The way to the supervisor, a packet for each word."""


class SecretIdentity(IdentityProvider):  # type: ignore[misc]
    """Lets in whoever knows the secret: the portal, which has looked who asks. There is no token, so that none is in
    a page, an address or a log, and Jupyter goes on to ask for its XSRF token."""

    secret_file = Unicode(config=True)
    person = Unicode(config=True)
    auth_enabled = True
    login_available = False

    @default("token")  # type: ignore[untyped-decorator]
    def _no_token(self) -> str:
        return ""

    def get_user(self, handler: Any) -> User | None:
        """The owner, or nobody."""
        given = handler.request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(), Path(self.secret_file).read_bytes().strip()):
            return None
        name = self.person or "owner"
        return User(username="owner", name=name, display_name=name, initials=name[:1].upper())

    def is_token_authenticated(self, handler: Any) -> bool:
        """Never: XSRF tokens are asked for."""
        return False


class PrivateKernelManager(ServerKernelManager):  # type: ignore[misc]
    """Kernels talk over abstract sockets, which other sandboxes cannot reach. What goes over TCP on one machine can be
    overheard by everybody on it."""

    @default("ip")  # type: ignore[untyped-decorator]
    def _ip_default(self) -> str:
        return f"@portal-{uuid.uuid4().hex}" if self.transport == "ipc" else "127.0.0.1"


def fork_with_terminal() -> tuple[int, int]:
    """``pty.fork`` with a terminal that the supervisor opened: who can open /dev/pts reads everybody's terminals."""
    assert control is not None
    control.send(b"terminal")
    _, (ours, theirs), *_ = socket.recv_fds(control, 16, 2)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(theirs, number)
        os.close(ours)
        if theirs > 2:
            os.close(theirs)
        return 0, -1
    os.close(theirs)
    return pid, ours


class Teller:
    """Tells the supervisor, and so the portal, of activity: what kernels and terminals do. An open page does not count,
    although it asks for something every few seconds."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.told = ""

    def __call__(self) -> None:
        kernels = list(self.app.kernel_manager._kernels.values())
        manager = self.app.web_app.settings.get("terminal_manager")
        terminals = list(manager.terminals.values()) if manager else []
        times = [getattr(each, "last_activity", None) for each in (*kernels, *terminals)]
        seconds = [at.timestamp() for at in times if isinstance(at, datetime)]
        busy = any(getattr(kernel, "execution_state", "") == "busy" for kernel in kernels)
        word = json.dumps({"at": max(seconds, default=None), "busy": busy})
        if word != self.told and control is not None:
            control.send(word.encode())
            self.told = word


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "portal_notebook"}]


def _load_jupyter_server_extension(app: Any) -> None:
    os.chdir(app.root_dir)  # where terminals begin
    PeriodicCallback(Teller(app), TELL_SECONDS * 1000).start()
