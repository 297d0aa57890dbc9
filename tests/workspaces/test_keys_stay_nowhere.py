"""Access keys pass through a whole portal, and are afterwards, and meanwhile, in nothing that it keeps or shows.

Real processes: web server, workers, scheduler, PostgreSQL and Valkey as ``make run`` starts them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis

from portal import embedded
from tests.browser.stage import Stage, Tenant, stage
from tests.clouds.aws.cloud import Aws
from tests.clouds.local_world import wait_for


@pytest.fixture
def portal(aws: Aws) -> Iterator[Stage]:
    with stage(1, museum=False, more={"PORTAL_AWS_ENDPOINT": aws.address, "LOG_LEVEL": "DEBUG"}) as running:
        yield running


def test_keys_are_nowhere(aws: Aws, portal: Stage) -> None:
    tenant, keys = portal.tenants[0], aws.keys()
    secrets = [keys.access_key_id, keys.secret_access_key, keys.session_token or ""]
    assert all(len(secret) >= 16 for secret in secrets)
    overheard, processes, done = [], set(), threading.Event()

    def watch() -> None:
        """Command lines and environments of all processes of the portal, again and again."""
        while not done.wait(0.02):
            for process in psutil.Process(portal.launcher.pid).children(recursive=True):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):
                        overheard.append(Path(f"/proc/{process.pid}/{name}").read_bytes())
                        processes.add(process.pid)

    watchers = [threading.Thread(target=watch), threading.Thread(target=_listen, args=[portal, overheard, done])]
    for watcher in watchers:
        watcher.start()
    try:
        page = portal.post(
            tenant,
            f"/o/{tenant.organization}/configurations/new/aws/",
            {"name": "Production", "region": "us-east-2", "way": "KEYS"},
        )
        wrong = {"access_key_id": secrets[0], "secret_access_key": secrets[1] + "\n!", "session_token": secrets[2]}
        portal.post(tenant, page, wrong, allow=(422,))
        good = {"access_key_id": secrets[0], "secret_access_key": secrets[1], "session_token": secrets[2]}
        aws.fail("GetCallerIdentity", "SignatureDoesNotMatch", f"Signed was {' '.join(secrets)}", 403)
        portal.post(tenant, page, good)
        wait_for(lambda: "CredentialsInvalid" in _page(portal, tenant, page), 60)
        portal.post(tenant, page, good)
        wait_for(lambda: 'data-status="READY"' in _page(portal, tenant, page), 120)
    finally:
        done.set()
        for watcher in watchers:
            watcher.join(10)
    assert len(processes) >= 5
    overheard += [*_database(portal), *_queue(portal), _page(portal, tenant, page).encode()]
    assert any(b"cloud_configuration.connect" in each for each in overheard), "the database was looked at"
    assert any(b"portal:events" in each for each in overheard), "the queue was listened to"
    files = [path for path in portal.home.rglob("*") if path.is_file() and not path.is_symlink()]
    logs = [path for path in files if path.parent.name == "log" and path.stat().st_size]
    assert len(logs) >= 2, [path.name for path in files if path.suffix == ".log"]
    found = [secret for secret in secrets if any(secret.encode() in each for each in overheard)]
    assert found == []
    assert [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)] == []
    for process in psutil.Process(portal.launcher.pid).children(recursive=True):
        for number in range(1, 3):
            with suppress(OSError):
                target = os.readlink(f"/proc/{process.pid}/fd/{number}")
                assert "deleted" not in target, "what it says goes where it was looked for"


def _page(portal: Stage, tenant: Tenant, path: str) -> str:
    return httpx.get(portal.address + path, cookies={"sessionid": tenant.session}, timeout=30).text


def _database(portal: Stage) -> Iterator[bytes]:
    """All rows of all tables. (The files of the database are among those that are read, with its log of writes.)"""
    with psycopg.connect(embedded.database_url(embedded.Home(portal.home))) as connection:
        names = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'"
        for (table,) in connection.execute(names).fetchall():
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t"):
                yield row.encode()


def _queue(portal: Stage) -> Iterator[bytes]:
    queue = portal.queue()
    for key in queue.scan_iter():
        yield key
        yield queue.dump(key) or b""


def _listen(portal: Stage, overheard: list[bytes], done: threading.Event) -> None:
    """Every command that Valkey gets."""
    address = embedded.redis_url(embedded.Home(portal.home))
    with redis.Redis.from_url(address).monitor() as monitor:  # type: ignore[no-untyped-call]
        connection = monitor.connection
        assert connection
        while not done.is_set():
            if connection.can_read(timeout=0.1):
                overheard.append(str(monitor.next_command()).encode())
