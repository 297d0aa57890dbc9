"""Requests to addresses that people gave us, made so that they reach no machine that only the portal can reach.

A name is resolved once, each address it has is looked at, and the connection goes to an address that was looked at: a
name that answers differently the second time changes nothing. Redirects are new requests and pass the same gate.
No Django in here: sources are fetched by a process of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
REDIRECTS = 5
BLOCK = 1 << 16


class AddressNotAllowedError(OSError):
    """The address leads to a private network, or is not https."""


class TooLargeError(OSError):
    """More came than was allowed."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local (where clouds keep their
    metadata and credentials), shared, reserved or multicast; also where it is one of these in another notation."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and int(found) >> 32 == 0x64FF9B << 64:  # 64:ff9b::/96, which NAT64 leads to IPv4
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """The socket addresses of a public host. Raises AddressNotAllowedError where any of them is not public, and
    socket.gaierror where there are none."""
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    if not all(is_public(str(entry[4][0])) for entry in found):
        raise AddressNotAllowedError(f"{host} is in a private network.")
    return found


class _Guard:
    """Connects to addresses that were looked at, and to no others."""

    def _new_conn(self: Any) -> socket.socket:
        error: OSError | None = None
        for family, kind, protocol, _, address in resolve(self._dns_host, self.port):
            try:
                made = socket.socket(family, kind, protocol)
                made.settimeout(self.timeout if isinstance(self.timeout, int | float) else CONNECT_SECONDS)
                for option in self.socket_options or ():
                    made.setsockopt(*option)
                made.connect(address)
                return made
            except OSError as failed:
                made.close()
                error = failed
        raise urllib3.exceptions.NewConnectionError(self, f"It cannot be reached: {error}")


class _Plain(_Guard, HTTPConnection):
    pass


class _Secure(_Guard, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class PoolManager(urllib3.PoolManager):
    """As urllib3's, but guarded: https only, public addresses only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def connection_from_host(self, host: Any, port: Any = None, scheme: Any = "http", *args: Any, **kwargs: Any) -> Any:
        """Refuse what is not https before anything is sent."""
        if scheme != "https":
            raise AddressNotAllowedError("Only https addresses are allowed.")
        return super().connection_from_host(host, port, scheme, *args, **kwargs)


def pool_manager(*, private: bool) -> urllib3.PoolManager:
    """For libraries that take one. ``private`` allows everything: the operator said that people may reach the portal's
    own network."""
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    return (urllib3.PoolManager if private else PoolManager)(timeout=timeout, retries=False)


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)


class Session(requests.Session):
    """A session with time limits on every request."""

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """As requests does."""
        options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
        return super().request(method, url, *args, **options)


def session(*, private: bool) -> Session:
    """A session that reaches public https addresses only, unless ``private``, with no proxies or passwords of the
    portal's own environment. Raises AddressNotAllowedError (or requests' ConnectionError around it)."""
    made = Session()
    made.trust_env = False
    made.max_redirects = REDIRECTS
    if not private:
        made.mount("https://", _Adapter())
        made.mount("http://", _Adapter())
    return made


def blocks(response: requests.Response, limit: int) -> Iterator[bytes]:
    """The body of a streamed response. Raises TooLargeError beyond ``limit`` bytes."""
    taken = 0
    for block in response.iter_content(BLOCK):
        taken += len(block)
        if taken > limit:
            raise TooLargeError(f"It is larger than {limit >> 20} MB.")
        yield block
