"""PostgreSQL and Valkey from wheels, as private children of whoever starts them.

Nothing here imports Django: settings read addresses from here before any server runs. Both servers listen on unix
sockets only and ask for a password, because jobs on a LOCAL cloud run on the same machine under the same account.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from portal.embedded.home import Home, Secrets, StartError, database_settings, database_url, load_secrets, redis_url
from portal.embedded.postgres import start_postgres
from portal.embedded.servers import Server
from portal.embedded.valkey import start_valkey

__all__ = [
    "Home",
    "Secrets",
    "Server",
    "StartError",
    "database_settings",
    "database_url",
    "load_secrets",
    "redis_url",
    "services",
    "start_postgres",
    "start_valkey",
]


@contextmanager
def services(home: Home, *, durable: bool = True) -> Iterator[None]:
    """Both servers for the length of a block, with the environment pointing to them and to nothing else."""
    keep = {name: os.environ.pop(name, None) for name in ("DATABASE_URL", "REDIS_URL", "PORTAL_HOME")}
    os.environ["PORTAL_HOME"] = str(home.path)
    try:
        with ExitStack() as stack:
            stack.enter_context(home.lock())
            stack.callback(start_postgres(home, durable=durable).stop)
            stack.callback(start_valkey(home).stop)
            yield
    finally:
        for name, value in keep.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
