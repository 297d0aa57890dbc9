"""What is to be fetched, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field


class FetchError(Exception):
    """It cannot be had. ``permanent`` where trying again would not help."""

    def __init__(self, message: str, hint: str = "", *, permanent: bool = True) -> None:
        super().__init__(message)
        self.message, self.hint, self.permanent = message, hint, permanent


@dataclass(frozen=True)
class Order:
    """``directory`` is where the code goes; ``limit`` is in bytes; ``commit`` is set where an earlier fetch of the same
    attempt has found out which one it is; ``credentials`` are the run's own for S3."""

    type: str
    location: str
    reference: str
    username: str
    token: str
    file: str
    commit: str
    directory: str
    limit: int
    private: str
    credentials: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """``file`` is relative to the directory, ``digest`` the SHA-256 over it all (``digests``)."""

    file: str
    commit: str
    digest: str
