"""PostgreSQL and Valkey from wheels, as private children of whoever starts them.

Nothing here imports Django: settings read addresses from here before any server runs. Both servers listen on unix
sockets only and ask for a password, because jobs on a LOCAL cloud run on the same machine under the same account.
"""

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
    "start_postgres",
    "start_valkey",
]
