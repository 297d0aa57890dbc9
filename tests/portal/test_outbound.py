"""Addresses that people enter lead to the open internet and to nothing that only the portal can reach."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import requests
import urllib3

from portal import outbound


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_the_open_internet_is_public(address: str) -> None:
    assert outbound.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "224.0.0.1", "ff02::1", "255.255.255.255"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("192.0.2.1", "198.18.0.1", "240.0.0.1", "168.63.129.16"),
    ],
)
def test_what_only_we_can_reach_is_not(address: str) -> None:
    assert not outbound.is_public(address)


PRIVATE = ("127.0.0.1", "10.1.2.3", "192.168.1.1", "fc00::1", "93.184.216.34")
CREDENTIALS = (
    *("169.254.169.254", "169.254.170.2", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "168.63.129.16"),
)


@pytest.mark.parametrize("private", ["on", "0.0.0.0/0,::/0", "169.254.0.0/15", "on,10.0.0.0/8", "168.0.0.0/5,fd00::/8"])
@pytest.mark.parametrize("address", CREDENTIALS)
def test_credentials_of_the_machine_are_not_reached_by_a_wide_word(address: str, private: str) -> None:
    assert not outbound.is_allowed(address, private)


def test_what_is_named_itself_is_reached() -> None:
    for address, private in (
        ("169.254.169.254", "169.254.169.254/32"),
        ("169.254.169.254", "on,169.254.169.254/32"),
        ("169.254.169.254", "169.254.0.0/16"),
        ("fd00:ec2::254", "fd00:ec2::254/128"),
        ("10.1.2.3", "10.0.0.0/8,192.168.1.1/32"),
    ):
        assert outbound.is_allowed(address, private)
    for address, private in (
        ("169.254.170.2", "on,169.254.169.254/32"),
        ("192.168.1.2", "10.0.0.0/8,192.168.1.1/32"),
        ("127.0.0.1", "10.0.0.0/8"),
    ):
        assert not outbound.is_allowed(address, private)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_are_open_where_the_operator_says_on(address: str) -> None:
    assert outbound.is_allowed(address, "on")


@pytest.mark.parametrize("name", ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"])
def test_no_connection_is_tried_to_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at once nor by a redirect, with private networks open."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise OSError("not in a test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for send in (outbound.session(private="on").get, partial(outbound.pool_manager(private="on").request, "GET")):
        with pytest.raises((OSError, requests.RequestException, urllib3.exceptions.HTTPError), match="credentials"):
            send(f"http://{name}/latest/meta-data/")
    assert tried == []


def test_a_redirect_does_not_lead_there(server: Any) -> None:
    address = f"http://127.0.0.1:{server.server_port}/to/http://169.254.169.254/latest"
    with pytest.raises(requests.RequestException, match="credentials"):
        outbound.session(private="on").get(address)
    assert server.seen == ["/to/http://169.254.169.254/latest"]


@pytest.fixture
def server() -> Iterator[Any]:
    """A web server on this machine that counts what reaches it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.seen.append(self.path)  # type: ignore[attr-defined]
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/to/"))
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 300_000)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


NAMES = ["127.0.0.1", "localhost", "0.0.0.0", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_not_reached_by_any_of_its_names(server: Any, name: str, scheme: str) -> None:
    accepted: list[int] = []
    accept = server.get_request

    def counted() -> Any:
        accepted.append(1)
        return accept()

    server.get_request = counted
    with pytest.raises((OSError, requests.RequestException)):
        outbound.session(private="").get(f"{scheme}://{name}:{server.server_port}/")
    pool = outbound.pool_manager(private="")
    with pytest.raises((OSError, urllib3.exceptions.HTTPError)):
        pool.request("GET", f"{scheme}://{name}:{server.server_port}/")
    assert (server.seen, accepted) == ([], [])


def test_a_name_that_changes_its_answer_is_asked_once(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when looked at, private when connected to."""
    real, answers = socket.getaddrinfo, iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    tried: list[Any] = []

    def lying(host: str, port: int, *more: Any) -> Any:
        return real(next(answers), port, *more) if host == "rebind.example" else real(host, port, *more)

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise OSError("not in a test")

    monkeypatch.setattr(socket, "getaddrinfo", lying)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(requests.RequestException):
        outbound.session(private="").get(f"https://rebind.example:{server.server_port}/")
    assert tried == ["93.184.216.34"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, *m: real("93.184.216.34", port) + real("10.0.0.1", port))
    with pytest.raises(outbound.AddressNotAllowedError):
        outbound.resolve("both.example", 443)


def test_where_the_operator_allows_it_all_is_reached_and_proxies_are_not_asked(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answer = outbound.session(private="on").get(
        f"http://127.0.0.1:{server.server_port}/to/http://127.0.0.1:{server.server_port}/x"
    )
    assert answer.ok
    assert server.seen[-1] == "/x"


def test_redirects_have_an_end(server: Any) -> None:
    home = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(requests.TooManyRedirects):
        outbound.session(private="on").get(f"{home}{f'/to/{home}' * 8}/x")


def test_a_body_that_is_too_large_is_not_read_to_its_end(server: Any) -> None:
    answer = outbound.session(private="on").get(f"http://127.0.0.1:{server.server_port}/", stream=True)
    taken: list[bytes] = []
    with pytest.raises(outbound.TooLargeError):
        taken.extend(outbound.blocks(answer, 100_000))
    assert len(b"".join(taken)) <= 100_000
