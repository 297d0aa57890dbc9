"""A real web process, as `make run` starts it: what only shows over a socket. Large files, event streams, huge bodies.

The rows are committed, because another process reads them, and removed again.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import psutil
import psycopg
import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import ProtectedError
from django.test import Client
from pytest_django import DjangoDbBlocker

from tests.audit_guards import APPEND_ONLY, STATEMENTS_FROZEN, switched_off
from tests.pages.world import Tenants, make_tenants

pytestmark = pytest.mark.django_db

SIZE = 2 << 30
BLOCK = 1 << 20
GROWTH = 100 << 20
"""Bytes of memory by which the process may grow over an upload or download of any size."""


@dataclass
class Site:
    """The running portal, the tenants in it, and a person who is signed in."""

    port: int
    process: psutil.Process
    tenants: Tenants
    cookie: str
    token: str
    spool: Path

    @contextmanager
    def connect(self, timeout: float = 60) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            yield connection
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        with self.connect() as connection:
            connection.request("GET", path, headers={"Cookie": self.cookie})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def address(self, rest: str) -> str:
        return f"/w/{self.tenants.lab.workspace.pk}/{rest}"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with django_db_blocker.unblock():
        stored = [
            model for model in apps.get_models() if model._meta.db_table in connection.introspection.table_names()
        ]
        before = {model: set(model._default_manager.values_list("pk", flat=True)) for model in stored}
        tenants = make_tenants(directory)
        client = Client()
        client.force_login(tenants.people["developer"])
        client.get("/organizations/new/")
        token = client.cookies["csrftoken"].value
        cookie = f"sessionid={client.cookies['sessionid'].value}; csrftoken={token}"
    port, log = _free_port(), directory / "web.log"
    keys = {"SECRET_KEY": settings.SECRET_KEY, "PORTAL_FERNET_KEYS": Fernet.generate_key().decode()}
    environment = {**os.environ, "DATABASE_URL": _database_url(), "FORWARDED_ALLOW_IPS": "", **keys}
    command = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--lifespan", "off", "--log-level", "warning", "--no-access-log", "--timeout-graceful-shutdown", "1"]
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    spool = Path(settings.FILE_UPLOAD_TEMP_DIR)
    site = Site(port, psutil.Process(server.pid), tenants, cookie, token, spool)
    try:
        _wait_until_it_answers(site, log)
        yield site
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(directory, ignore_errors=True)
        with django_db_blocker.unblock(), switched_off(APPEND_ONLY, *STATEMENTS_FROZEN):
            _remove_new_rows(before)
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast(int, probe.getsockname()[1])


def _database_url() -> str:
    given = connection.settings_dict
    user, password = quote(str(given["USER"])), quote(str(given["PASSWORD"]), safe="")
    host = quote(str(given["HOST"]), safe="")
    return f"postgresql://{user}:{password}@{host}:{given['PORT']}/{given['NAME']}"


def _wait_until_it_answers(site: Site, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if site.get("/healthz")[0] == 200:
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def _remove_new_rows(before: dict[Any, set[Any]]) -> None:
    """In any order that the constraints allow."""
    left = dict(before)
    while left:
        progress = False
        for model, old in list(left.items()):
            try:
                model._default_manager.exclude(pk__in=old).delete()
            except ProtectedError:
                continue
            del left[model]
            progress = True
        assert progress, f"rows of {left} stay"


def size_of(path: Path) -> int:
    """0 for what is gone: other tests upload at the same time."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def peak_memory(site: Site, seen: list[int]) -> None:
    seen.append(site.process.memory_info().rss)


def test_an_upload_of_2_gib_goes_to_disk_and_comes_back_without_growing_memory(site: Site) -> None:
    if shutil.disk_usage(site.spool).free < 4 * SIZE:
        pytest.skip("needs 8 GiB of free disk")
    block = b"\0" * BLOCK
    head = f'--limit\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{site.token}\r\n'
    head += '--limit\r\nContent-Disposition: form-data; name="path"\r\n\r\n\r\n'
    head += '--limit\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    tail = "\r\n--limit--\r\n"
    seen: list[int] = []
    peak_memory(site, seen)
    start = seen[0]
    with site.connect(120) as connection:
        connection.putrequest("POST", site.address("files/upload/"))
        connection.putheader("Cookie", site.cookie)
        connection.putheader("Content-Type", "multipart/form-data; boundary=limit")
        connection.putheader("Content-Length", str(len(head) + SIZE + len(tail)))
        connection.endheaders(head.encode())
        for number in range(SIZE // BLOCK):
            connection.send(block)
            if number % 64 == 0:
                peak_memory(site, seen)
        connection.send(tail.encode())
        connection.sock.settimeout(0.1)
        while True:
            try:
                connection.sock.recv(1, 2)  # MSG_PEEK: the answer begins
                break
            except TimeoutError:
                peak_memory(site, seen)
        connection.sock.settimeout(60)
        response = connection.getresponse()
        assert response.status == 302, response.read()[-2000:]
    file = site.tenants.lab.files / "big.bin"
    assert file.stat().st_size == SIZE
    assert max(seen) - start < GROWTH

    taken = 0
    with site.connect(120) as connection:
        connection.request("GET", site.address("files/download/?path=big.bin"), headers={"Cookie": site.cookie})
        response = connection.getresponse()
        assert response.getheader("Content-Length") == str(SIZE)
        while block := response.read(BLOCK):
            taken += len(block)
            if taken % (64 * BLOCK) == 0:
                peak_memory(site, seen)
    file.unlink()
    assert taken == SIZE
    assert max(seen) - start < GROWTH
    assert not any(size_of(left) >= BLOCK for left in site.spool.iterdir())  # nothing of it stays where it was spooled


@pytest.mark.parametrize(
    "path",
    ["/accounts/login/", "/organizations/new/", f"/w/{uuid.UUID(int=0)}/files/upload/", "/healthz", "/nowhere"],
)
def test_only_an_upload_may_be_large(site: Site, path: str) -> None:
    """Anybody could fill the disk otherwise: a body is read before anybody asks who sent it."""
    with site.connect() as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        try:
            for _ in range(64):
                connection.send(b"x" * BLOCK)
        except (BrokenPipeError, ConnectionResetError):
            return  # it hung up on us
        response = connection.getresponse()
        assert response.status == 413
        assert "default-src 'none'" in str(response.getheader("Content-Security-Policy"))
        assert b"data-error-message" in response.read()


def test_ten_megabytes_in_a_field_are_too_many(site: Site) -> None:
    with site.connect() as connection:
        body = b"name=" + b"x" * (10 << 20)
        headers = {"Cookie": site.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request("POST", "/organizations/new/", body, headers)
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert site.get("/healthz")[0] == 200


@contextmanager
def stream(site: Site, path: str) -> Iterator[Any]:
    with site.connect(30) as connection:
        connection.request("GET", path, headers={"Cookie": site.cookie})
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/event-stream"
        assert "default-src 'none'" in str(response.getheader("Content-Security-Policy"))
        while b"hello" not in response.readline():
            pass
        yield response


def test_streams_hold_no_database_connection(site: Site) -> None:
    """Each open page has one, for hours; there are twelve connections."""
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(stream(site, site.address("events/")))
            stack.enter_context(stream(site, f"/o/{site.tenants.acme.pk}/events/"))
        assert site.get(site.address("clusters/"))[0] == 200


def test_a_stream_ends_within_seconds_of_losing_the_membership(site: Site) -> None:
    person = site.tenants.people["developer"].pk
    with (
        stream(site, site.address("events/")) as first,
        stream(site, f"/o/{site.tenants.acme.pk}/events/") as second,
        psycopg.connect(_database_url(), autocommit=True) as other,  # ours is in the transaction of the test
    ):
        other.execute("UPDATE accounts_user SET is_active = false WHERE id = %s", [person])
        try:
            deadline = time.monotonic() + 8
            for response in (first, second):
                while line := response.readline():
                    assert b"changed" not in line
                    assert time.monotonic() < deadline, "it goes on"
        finally:
            other.execute("UPDATE accounts_user SET is_active = true WHERE id = %s", [person])


def test_an_outsider_gets_no_stream(site: Site) -> None:
    for path in (f"/w/{site.tenants.abroad.workspace.pk}/events/", f"/o/{site.tenants.globex.pk}/events/"):
        assert site.get(path)[0] == 404


def test_a_long_log_is_streamed_and_static_files_carry_the_fences(site: Site) -> None:
    status, headers, body = site.get("/static/portal/portal.css")
    assert status == 200
    assert body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "max-age" in headers["cache-control"]
    status, headers, body = site.get(site.address(f"jobs/{site.tenants.lab.run.pk}/log/download/"))
    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/%00", "/%ff", "/o/%00/people/", "/w/%ff/", "/static/%00", "/static/../../etc/passwd"]
)
def test_broken_addresses_are_no_server_errors(site: Site, path: str) -> None:
    assert site.get(path)[0] in {400, 404}
