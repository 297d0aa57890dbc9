"""Starts JupyterLab in its sandbox: ``python -I serve.py``, with the descriptors that its supervisor hands over.

PORTAL_SOCKET is the listening socket, PORTAL_CONTROL the way to the supervisor (see ``lab.py``). The socket is bound
outside, so that nothing in the sandbox can put another one, or a link, in its place.

Runs in the environment of JupyterLab, from a copy beside the server's other files.
"""

from __future__ import annotations

import os
import pty
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import portal_notebook  # type: ignore[import-not-found]
from jupyter_server import serverapp
from jupyterlab.labapp import main


def take(name: str) -> socket.socket:
    """A descriptor that was handed over, and that no kernel gets."""
    descriptor = int(os.environ.pop(name))
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def bind(*_: Any, **__: Any) -> socket.socket:
    """Instead of a new socket, the one that is there."""
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    listener = take("PORTAL_SOCKET")
    portal_notebook.control = take("PORTAL_CONTROL")
    serverapp.bind_unix_socket = bind
    serverapp.unix_socket_in_use = lambda path: False
    pty.fork = portal_notebook.fork_with_terminal
    sys.exit(main())
