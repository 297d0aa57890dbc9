"""Requests to addresses that people gave us, made so that they reach no machine that only the portal can reach.

A name is resolved once, each address it has is looked at, and the connection goes to an address that was looked at: a
name that answers differently the second time changes nothing. Redirects are new requests and pass the same gate.
No Django in here: sources are fetched by a process of its own.

``private`` says what may be reached beside https at public addresses, as ``PORTAL_PRIVATE_ADDRESSES`` has it: nothing
(empty), private networks ("on"), or those that are named, comma-separated; and with any of it, plain http. Where clouds
hand out their credentials is closed unless it is named itself: a wider network that has it within does not open it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
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


CREDENTIALS = tuple(
    map(
        ip_network,
        # Link-local: AWS, Azure, Google and most others. AWS over IPv6. Google over IPv6. Alibaba. Azure's agent.
        ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/64", "100.100.100.200/32", "168.63.129.16/32"),
    )
)
"""Where a machine in a cloud finds the keys of its own account."""

Address = IPv4Address | IPv6Address


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local (where clouds keep their
    metadata and credentials), shared, reserved or multicast; also where it is one of these in another notation."""
    found = _plain(address)
    return found.is_global and not found.is_multicast and _closed_by(found) is None


def is_allowed(address: str, private: str) -> bool:
    """Whether an IP address may be reached."""
    found, closed = _plain(address), _closed_by(_plain(address))
    words = [word for word in private.split(",") if word]
    named = [network for network in (ip_network(word) for word in words if word != "on") if found in network]
    if closed is not None:
        return any(network.prefixlen >= closed.prefixlen for network in named)
    return bool(named) or "on" in words or is_public(address)


def _plain(address: str) -> Address:
    """An address without its zone, and as IPv4 where that is what it leads to."""
    found: Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and int(found) >> 32 == 0x64FF9B << 64:  # 64:ff9b::/96, which NAT64 leads to IPv4
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return inner
    return found


def _closed_by(found: Address) -> IPv4Network | IPv6Network | None:
    return next((network for network in CREDENTIALS if found in network), None)


def resolve(host: str, port: int, private: str = "") -> list[tuple[Any, ...]]:
    """The socket addresses of a host. Raises AddressNotAllowedError where any of them may not be reached, and
    socket.gaierror where there are none."""
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    refused = [each for each in (str(entry[4][0]) for entry in found) if not is_allowed(each, private)]
    if private and any(_closed_by(_plain(each)) for each in refused):
        raise AddressNotAllowedError(f"{host} is where machines in a cloud find credentials of their own.")
    if refused:
        raise AddressNotAllowedError(f"{host} is in a private network.")
    return found


class _Guard:
    """Connects to addresses that were looked at, and to no others."""

    private = ""

    def _new_conn(self: Any) -> socket.socket:
        error: OSError | None = None
        for family, kind, protocol, _, address in resolve(self._dns_host, self.port, self.private):
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


def _guarded(pool: Any, connection: Any, private: str) -> Any:
    guarded = type(connection.__name__, (_Guard, connection), {"private": private})
    return type(pool.__name__, (pool,), {"ConnectionCls": guarded})


class PoolManager(urllib3.PoolManager):
    """As urllib3's, but guarded."""

    def __init__(self, *, private: str, **options: Any) -> None:
        super().__init__(**options)
        self.private = private
        self.pool_classes_by_scheme = {
            "http": _guarded(HTTPConnectionPool, HTTPConnection, private),
            "https": _guarded(HTTPSConnectionPool, HTTPSConnection, private),
        }

    def connection_from_host(self, host: Any, port: Any = None, scheme: Any = "http", *args: Any, **kwargs: Any) -> Any:
        """Refuse what is not https before anything is sent."""
        if scheme != "https" and not self.private:
            raise AddressNotAllowedError("Only https addresses are allowed.")
        return super().connection_from_host(host, port, scheme, *args, **kwargs)


def pool_manager(*, private: str) -> PoolManager:
    """For libraries that take one."""
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    return PoolManager(private=private, timeout=timeout, retries=False)


class _Adapter(HTTPAdapter):
    def __init__(self, private: str) -> None:
        self.private = private
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(
            private=self.private, num_pools=connections, maxsize=maxsize, block=block, **options
        )


class Session(requests.Session):
    """A session with time limits on every request."""

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """As requests does."""
        options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
        return super().request(method, url, *args, **options)


def session(*, private: str) -> Session:
    """A session that reaches what it may, with no proxies or passwords of the portal's own environment. Raises
    AddressNotAllowedError (or requests' ConnectionError around it)."""
    made = Session()
    made.trust_env = False
    made.max_redirects = REDIRECTS
    made.mount("https://", _Adapter(private))
    made.mount("http://", _Adapter(private))
    return made


def blocks(response: requests.Response, limit: int) -> Iterator[bytes]:
    """The body of a streamed response. Raises TooLargeError beyond ``limit`` bytes."""
    taken = 0
    for block in response.iter_content(BLOCK):
        taken += len(block)
        if taken > limit:
            raise TooLargeError(f"It is larger than {limit >> 20} MB.")
        yield block
