"""The embedded servers: first start, later starts, wrong passwords, and every way to be interrupted."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dj_database_url
import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portal import embedded
from portal.embedded import Home, Server, StartError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Both servers running, for the tests that only look."""
    home = Home(tmp_path_factory.mktemp("home") / "var")
    postgres = embedded.start_postgres(home, durable=False)
    valkey = embedded.start_valkey(home)
    yield home
    valkey.stop()
    postgres.stop()


def query(home: Home, statement: str) -> str:
    with psycopg.connect(embedded.database_url(home)) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return str(row[0])


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes_of(home: Home) -> list[str]:
    found = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [command for command in found if str(home.path) in command]


def test_database_and_queue_answer(home: Home) -> None:
    assert query(home, "SELECT current_database()") == "portal"
    assert query(home, "SHOW server_encoding") == "UTF8"
    assert query(home, "SELECT upper('é')") == "É"
    with redis.Redis.from_url(embedded.redis_url(home)) as queue:
        assert queue.ping()
        assert queue.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_settings_and_address_name_the_same_database(home: Home) -> None:
    parsed = dj_database_url.parse(embedded.database_url(home))
    settings = embedded.database_settings(home)
    for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST"):
        assert parsed[name] == settings[name]


def test_a_wrong_password_is_refused(home: Home) -> None:
    settings = embedded.database_settings(home)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=settings["HOST"], user="portal", dbname="portal", port=5432, password="guess")
    with (
        redis.Redis(unix_socket_path=str(home.valkey_socket), password="guess", retry=Retry(NoBackoff(), 0)) as queue,
        pytest.raises(redis.AuthenticationError),
    ):
        queue.ping()


def test_no_server_listens_on_a_network(home: Home) -> None:
    assert query(home, "SHOW listen_addresses") == ""
    with redis.Redis.from_url(embedded.redis_url(home)) as queue:
        assert queue.config_get("port") == {"port": "0"}


def test_passwords_are_in_no_process_list(home: Home) -> None:
    secrets = embedded.load_secrets(home)
    commands = "\n".join(processes_of(home))
    assert "postgres" in commands
    assert secrets.database_password not in commands
    assert secrets.queue_password not in commands


def test_private_directories(home: Home) -> None:
    for directory in (home.path, home.run_directory, home.socket_directory, home.database_directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory


def test_secrets_are_private_and_stay(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    first = embedded.load_secrets(home)
    assert stat.S_IMODE((home.path / "secrets.json").stat().st_mode) == 0o600
    assert embedded.load_secrets(home) == first
    assert first.database_password not in repr(first)


def test_simultaneous_first_readers_get_the_same_secrets(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: embedded.load_secrets(home), range(16)))
    assert all(secrets == found[0] for secrets in found)
    assert [path.name for path in home.path.iterdir() if "secrets" in path.name] == ["secrets.json"]


def test_lost_secrets_beside_a_database_are_not_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.database_directory.mkdir()
    with pytest.raises(StartError, match="Put the file back from a backup"):
        embedded.load_secrets(home)


def test_damaged_secrets_say_so(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"secret_key": ')
    with pytest.raises(StartError, match="is damaged"):
        embedded.load_secrets(Home(tmp_path))


def test_data_survives_a_restart_and_stop_leaves_no_process(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    server = embedded.start_postgres(home)
    assert query(home, "SHOW fsync") == "on"
    with psycopg.connect(embedded.database_url(home)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    valkey = embedded.start_valkey(home)
    valkey.stop()
    server.stop()
    assert processes_of(home) == []
    server = embedded.start_postgres(home)
    assert query(home, "SELECT answer FROM kept") == "42"
    server.stop()


def test_half_made_database_is_made_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    embedded.load_secrets(home)
    half_made = home.path / "postgres.new"
    (half_made / "base").mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    said: list[str] = []
    server = embedded.start_postgres(home, durable=False, say=said.append)
    assert query(home, "SELECT 1") == "1"
    server.stop()
    assert said == ["An earlier start was interrupted while it made the database; making it again."]
    assert not half_made.exists()


def test_starts_again_after_kill(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    first = embedded.start_postgres(home, durable=False)
    with psycopg.connect(embedded.database_url(home)):  # a backend that outlives its postmaster for a moment
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        second = embedded.start_postgres(home, durable=False)
    assert query(home, "SELECT 1") == "1"
    second.stop()


def test_a_server_left_over_is_stopped_first(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    old = [embedded.start_postgres(home, durable=False), embedded.start_valkey(home)]
    with ThreadPoolExecutor(2) as pool:  # reaps them, as init would for a launcher that is gone
        ends = [pool.submit(server.process.wait) for server in old]
        said: list[str] = []
        new = [embedded.start_postgres(home, durable=False, say=said.append), embedded.start_valkey(home)]
        assert [end.result(10) for end in ends] == [0, 0]
    assert said == ["PostgreSQL is still running from an earlier start; stopping it first."]
    for server in new:
        assert server.poll() is None
        server.stop()


def test_a_pid_file_that_names_another_process_does_no_harm(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    embedded.start_postgres(home, durable=False).stop()
    (home.database_directory / "postmaster.pid").write_text(f"{os.getpid()}\n{home.database_directory}\n")
    server = embedded.start_postgres(home, durable=False)
    assert query(home, "SELECT 1") == "1"
    server.stop()


def test_a_long_path_gets_short_sockets(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30) / "with space, and ünicode")
    assert not home.socket_directory.is_relative_to(home.path)
    servers: list[Server] = [embedded.start_postgres(home, durable=False), embedded.start_valkey(home)]
    try:
        assert query(home, "SELECT current_database()") == "portal"
        with redis.Redis.from_url(embedded.redis_url(home)) as queue:
            assert queue.ping()
    finally:
        for server in servers:
            server.stop()
        home.socket_directory.rmdir()


def test_a_foreign_password_says_what_to_do(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "one"), Home(tmp_path / "two")
    embedded.start_postgres(home, durable=False).stop()
    embedded.load_secrets(other)
    (other.path / "secrets.json").replace(home.path / "secrets.json")
    with pytest.raises(StartError, match="Put back the file that belongs to this database"):
        embedded.start_postgres(home, durable=False)
    assert processes_of(home) == []


def test_a_damaged_database_is_explained_with_its_own_words(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    embedded.start_postgres(home, durable=False).stop()
    (home.database_directory / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(
        StartError, match=r"PostgreSQL did not start. It last wrote: “.*FATAL.*incompatible.*postgres\.log"
    ):
        embedded.start_postgres(home, durable=False)


def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    program = (
        "import sys, time; from portal import embedded; home = embedded.Home(sys.argv[1]);"
        "embedded.start_postgres(home, durable=False); embedded.start_valkey(home);"
        "print('ready', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(home.path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: processes_of(home) == []), processes_of(home)


def test_only_one_holds_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    with home.lock(), pytest.raises(BlockingIOError), home.lock():
        pass
    with home.lock():
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="Set PORTAL_HOME to a directory you can write to"):
        Home(tmp_path / "file" / "var").prepare()
