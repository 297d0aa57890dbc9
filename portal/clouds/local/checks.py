"""Whether a directory and this machine can serve as a cloud. Looks only; changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from portal.clouds.base import Check
from portal.clouds.local import sandbox
from portal.clouds.local.capacity import Capacity, machine_memory

NEEDED_DISK = 5 << 30
"""Bytes: a Bodo release takes 2 GiB, installing it as much again for a while."""

NEEDED_MEMORY = 2048
"""MiB that importing and compiling takes, once per worker. Less for each core is a warning: whoever starts fewer
workers, or a light job, gets by."""


def check(root: Path, machine_root: Path, python: str, capacity: Capacity) -> list[Check]:
    """All checks, each with what to do where it failed."""
    return [
        _allowed(root),
        _writable(root, machine_root),
        _disk(root),
        _size(capacity),
        _environments(python),
        _shared_memory(),
        _isolation(),
    ]


def _allowed(root: Path) -> Check:
    real = root.resolve()
    inside = next((path for path in sandbox.SYSTEM if real.is_relative_to(Path(path).resolve())), None)
    if real == Path("/") or (inside is not None and inside != "/opt"):
        hint = "Choose a directory of its own, for example below /srv or the portal's data directory."
        return Check("Directory", False, f"{root} belongs to the system.", hint)
    return Check("Directory", True, f"{root} can be used.")


def _writable(root: Path, machine_root: Path) -> Check:
    for path in (root, machine_root):
        existing = _existing(path)
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            hint = "Give it to the portal's account, or choose another directory."
            return Check("Write access", False, f"{existing} cannot be written to.", hint)
    return Check("Write access", True, f"{root} can be written to.")


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(_existing(root)).free
    detail = f"{free / 2**30:.1f} GiB free, {NEEDED_DISK >> 30} GiB needed."
    return Check("Disk space", free >= NEEDED_DISK, detail, "" if free >= NEEDED_DISK else "Free space on this disk.")


def _size(capacity: Capacity) -> Check:
    memory = capacity.memory_per_core
    detail = f"{capacity.cores} cores for instances with {memory} MiB each; the machine has {machine_memory()} MiB."
    if memory * capacity.cores < NEEDED_MEMORY:
        return Check("Cores and memory", False, detail, f"A Bodo job takes {NEEDED_MEMORY} MiB: use a larger machine.")
    hint = "" if memory >= NEEDED_MEMORY else "Bodo may need more for each: lower PORTAL_LOCAL_CAPACITY in that case."
    return Check("Cores and memory", True, detail, hint)


def _environments(python: str) -> Check:
    command = [python, "-I", "-c", "import ensurepip, venv, sys; print('Python %d.%d.%d' % sys.version_info[:3])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        passed, detail = result.returncode == 0, (result.stdout or result.stderr).strip().rpartition("\n")[2]
    except (OSError, subprocess.TimeoutExpired) as error:
        passed, detail = False, str(error)
    hint = "" if passed else "Install the modules venv and ensurepip (on Debian and Ubuntu: the package python3-venv)."
    return Check("Release environments", passed, detail, hint)


def _shared_memory() -> Check:
    path = Path("/dev/shm")  # noqa: S108 - the very thing to look at
    passed = path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    detail = f"{shutil.disk_usage(path).free >> 20} MiB free in {path}." if passed else f"{path} cannot be written to."
    return Check("Shared memory", passed, detail, "" if passed else "MPI needs it: mount a tmpfs there.")


def _isolation() -> Check:
    """Passed in any case: without it jobs run as well, but people should know."""
    version = sandbox.abi()
    if version >= 6:
        return Check("Job isolation", True, f"Landlock ABI {version}.")
    if version:
        detail = f"Landlock ABI {version}: jobs cannot read the portal's files, but can signal its processes."
        return Check("Job isolation", True, detail, "A kernel from 6.12 on closes that.")
    detail = "None: job code can read all files of the portal's account, its secrets included."
    hint = "Let only people you trust run jobs here, or use a kernel from 6.12 on with Landlock enabled."
    return Check("Job isolation", True, detail, hint)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
