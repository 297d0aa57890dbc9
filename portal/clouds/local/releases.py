"""Releases of Bodo, and of the JupyterLab that notebooks run in: real environments, made from pinned requirements on
first use and shared by all configurations.

What a release is made from may change while its version stays: then it is installed anew, beside the old environment,
in which what runs goes on to its end. The installer removes those that nothing uses any more.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

from portal.clouds.base import CloudError, Event, Pending, Release
from portal.clouds.local import daemons, kernel

PINNED = Path(__file__).parent / "releases"
INSTALLER = Path(__file__).parent / "installer.py"
FAILURE_SECONDS = 5.0
"""How long a failed installation is reported to everybody who waits for it; after that, asking again tries again."""

_KEPT_ENVIRONMENT = re.compile(
    r"PIP_.*|PATH|HOME|LANG|TMPDIR|XDG_(CACHE|CONFIG)_HOME|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE",
    re.IGNORECASE,
)


class Releases:
    """The releases of one product under one directory. ``label`` is its name for people."""

    def __init__(
        self, directory: Path, python: str, pinned: Path = PINNED, *, product: str = "bodo", label: str = "Bodo"
    ) -> None:
        self.directory, self.python, self.pinned = directory, python, pinned
        self.product, self.label = product, label

    def list(self) -> list[Release]:
        """The releases on offer, newest first."""
        return [Release(version, self.installed(version)) for version in offered_versions(self.pinned, self.product)]

    def path(self, version: str) -> Path:
        """Where the environment of a release is: one place for each way of making it."""
        return self.directory / f"{self.product}-{version}-{self.digest(version)}"

    def digest(self, version: str) -> str:
        """What the environment is made from, as 12 hexadecimal digits; "unknown" for a release that is not offered."""
        try:
            made_from = self._requirements(version).read_bytes() + INSTALLER.read_bytes()
        except CloudError:
            return "unknown"
        return hashlib.sha256(made_from).hexdigest()[:12]

    def installed(self, version: str) -> bool:
        """Whether it is there and whole."""
        return (self.path(version) / ".complete").exists()

    def install(self, version: str) -> None:
        """Start installing, unless it is there or somebody is at it."""
        requirements = self._requirements(version)
        if self.installed(version):
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        release = self.path(version)
        environment = {name: value for name, value in os.environ.items() if _KEPT_ENVIRONMENT.fullmatch(name)}
        # Our own wheel is beside the requirements, which name its hash.
        environment["PIP_FIND_LINKS"] = f"{self.pinned} {environment.get('PIP_FIND_LINKS', '')}".strip()
        if daemons.held(self._beside(version, "lock")):
            return
        daemons.start(
            [self.python, "-I", str(INSTALLER), str(release), str(requirements)],
            lock=self._beside(version, "lock"),
            log=self._beside(version, "log"),
            environment=environment,
            fresh=[self._beside(version, "failed.json"), self._beside(version, "log")],
        )

    def ready(self, version: str) -> bool | Pending | Event:
        """True once usable. An installer that was killed, or failed a while ago, is started again."""
        if self.installed(version):
            return True
        if daemons.held(self._beside(version, "lock")):
            return self._progress(version)
        if self.installed(version):
            return True
        failure = self._beside(version, "failed.json")
        if failure.exists() and time.time() - failure.stat().st_mtime < FAILURE_SECONDS:
            log = self._beside(version, "log")
            why = _meaningful(daemons.tail(log, 4000)) or kernel.get(failure)
            raise CloudError(
                "ReleaseInstallFailed",
                f"{self.label} {version} could not be installed: {why}",
                f"Check the network, free disk space and the PIP_* settings, then try again. The whole log is {log}.",
            )
        self.install(version)
        return self._progress(version)

    def _progress(self, version: str) -> Event:
        """How far the installer is: fetching the packages is most of it, unpacking them the rest."""
        log = daemons.tail(self._beside(version, "log"), 1 << 20)
        total = len(re.findall(r"^[A-Za-z0-9]\S*==", self._requirements(version).read_text(), re.MULTILINE))
        total -= len(re.findall(r"^Ignoring ", log, re.MULTILINE))  # packages for other systems
        fetched = re.findall(r"^(?:Collecting |Processing \S*/)([^=\s]+?)(?:==|-\d)", log, re.MULTILINE)
        packages = [path.name for path in self.path(version).glob("lib/python*/site-packages/*.dist-info")]
        unpacked = sum(not name.startswith(("pip-", "setuptools-")) for name in packages)
        if len(fetched) < total:
            what = f"{fetched[-1]} ({len(fetched)} of {total})" if fetched else "making the environment"
            return Event("release", f"Installing {self.label} {version}: {what}", progress=0.7 * len(fetched) / total)
        done = min(unpacked, total)
        message = f"Installing {self.label} {version}: unpacking ({done} of {total})"
        return Event("release", message, progress=min(0.99, 0.7 + 0.3 * done / total))

    def _requirements(self, version: str) -> Path:
        path = self.pinned / f"{self.product}-{version}.txt"
        if "/" in version or not path.exists():
            offered = ", ".join(release.version for release in self.list())
            raise CloudError(
                "ReleaseUnknown",
                f"There is no release {version} of {self.label}.",
                f"Choose one of {offered}.",
                permanent=True,
            )
        return path

    def _beside(self, version: str, suffix: str) -> Path:
        return self.directory / f"{self.path(version).name}.{suffix}"


def offered_versions(pinned: Path = PINNED, product: str = "bodo") -> list[str]:
    """The releases that have pinned requirements, newest first."""
    versions = [path.stem.removeprefix(f"{product}-") for path in pinned.glob(f"{product}-*.txt")]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)


def _meaningful(log: str) -> str:
    """The lines of pip that say why, or its last ones."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("ERROR", "WARNING: Retrying")) or "Error" in line]
    return " ".join((reasons or lines)[-3:])[:600]
