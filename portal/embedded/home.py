"""PORTAL_HOME: where everything lies, its secrets, and the addresses of its servers."""

import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

DATABASE_NAME = "portal"
DATABASE_USER = "portal"
DATABASE_PORT = 5432  # only part of the socket's name; stated everywhere so that a PGPORT in the environment is ignored

_SOCKET_DIRECTORY_BYTES = 107 - len("/.s.PGSQL.5432")  # sun_path holds 108 bytes with its final zero


class StartError(Exception):
    """Something a person has to put right; the message is plain sentences and says what to do."""


@dataclass(frozen=True)
class Home:
    """The directory that holds all state: database, secrets, logs, LOCAL clouds, outgoing mail."""

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(path).expanduser().resolve())

    @classmethod
    def from_environment(cls) -> "Home":
        return cls(os.environ.get("PORTAL_HOME") or Path(__file__).resolve().parents[2] / "var")

    @property
    def database_directory(self) -> Path:
        return self.path / "postgres"

    @property
    def run_directory(self) -> Path:
        """The lock, the launcher's state and, where its path is short enough, the sockets."""
        return self.path / "run"

    @property
    def log_directory(self) -> Path:
        return self.path / "log"

    @property
    def socket_directory(self) -> Path:
        """`run`, or a short stand-in where that path is too long for a socket or would need quoting in libpq."""
        run = str(self.run_directory)
        if len(os.fsencode(run)) <= _SOCKET_DIRECTORY_BYTES and re.fullmatch(r"[\w./+-]+", run, re.ASCII):
            return self.run_directory
        # Not gettempdir() first: a TMPDIR set in one shell and not in the next would split the portal in two.
        shared = "/tmp"  # noqa: S108 - the directory made in it is private, and prepare() checks whose it is
        base = Path(shared if os.access(shared, os.W_OK) else tempfile.gettempdir())
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]
        return base / f"bodo-portal-{os.geteuid()}-{digest}"

    @property
    def valkey_socket(self) -> Path:
        return self.socket_directory / "valkey.sock"

    def prepare(self) -> None:
        """Make the directories, private to this account."""
        try:
            for directory in (self.path, self.run_directory, self.log_directory, self.socket_directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"Cannot make {error.filename}: {error.strerror}. Set PORTAL_HOME to a directory you can write to."
            ) from error
        found = self.socket_directory.lstat()  # in a shared /tmp anybody could have made it first
        if not stat.S_ISDIR(found.st_mode) or (os.geteuid() != 0 and found.st_uid != os.geteuid()):
            raise StartError(
                f"{self.socket_directory} belongs to somebody else. Set PORTAL_HOME to a directory of your own, "
                f"with a path shorter than {_SOCKET_DIRECTORY_BYTES - 4} characters."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            self.socket_directory.chmod(0o700)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this home for one set of servers; raises BlockingIOError while another process holds it."""
        self.prepare()
        descriptor = os.open(self.run_directory / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True, repr=False)
class Secrets:
    secret_key: str
    database_password: str
    queue_password: str
    fernet_key: str


def load_secrets(home: Home) -> Secrets:
    """Read this home's secrets; the first caller makes them, and whoever comes at the same moment gets the same."""
    path = home.path / "secrets.json"
    with suppress(FileNotFoundError):
        return _read_secrets(path)
    if home.database_directory.exists():
        raise StartError(
            f"{path} is gone, but the database it opens is still there. Put the file back from a backup; "
            f"or, to start afresh, move {home.database_directory} away."
        )
    home.prepare()
    from cryptography.fernet import Fernet  # slow to import, and needed once in a home's life

    made = Secrets(
        secret_key=secrets.token_urlsafe(48),
        database_password=secrets.token_urlsafe(32),
        queue_password=secrets.token_urlsafe(32),
        fernet_key=Fernet.generate_key().decode("ascii"),
    )
    descriptor, draft = tempfile.mkstemp(prefix=".secrets.", dir=home.path)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(made), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, this never replaces what another process has just made
    finally:
        os.unlink(draft)
    return _read_secrets(path)


def database_settings(home: Home) -> dict[str, Any]:
    """One entry of Django's DATABASES."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE_NAME,
        "USER": DATABASE_USER,
        "PASSWORD": load_secrets(home).database_password,
        "HOST": str(home.socket_directory),
        "PORT": str(DATABASE_PORT),
    }


def database_url(home: Home) -> str:
    """For libpq and dj-database-url alike."""
    password = quote(load_secrets(home).database_password, safe="")
    host = quote(str(home.socket_directory), safe="")
    return f"postgresql://{DATABASE_USER}:{password}@{host}:{DATABASE_PORT}/{DATABASE_NAME}"


def redis_url(home: Home) -> str:
    return f"unix://:{quote(load_secrets(home).queue_password, safe='')}@{quote(str(home.valkey_socket))}?db=0"


def _read_secrets(path: Path) -> Secrets:
    try:
        return Secrets(**json.loads(path.read_text()))
    except PermissionError as error:
        raise StartError(
            f"{path} belongs to another account. Run the portal as that account, or set PORTAL_HOME to a directory "
            "of your own."
        ) from error
    except (ValueError, TypeError) as error:
        raise StartError(f"{path} is damaged. Put it back from a backup.") from error
