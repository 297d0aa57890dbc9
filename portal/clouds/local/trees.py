"""Deleting what job code made: deep, closed, full of links, and changing meanwhile.

Standard library only, for the node agent imports this too.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from pathlib import Path

TEMPORARY = ".portal-upload-"
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 64


def remove(path: Path, deadline: float | None = None) -> bool:
    """``remove_tree`` of a path, of which only the last part may be made by job code."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return remove_tree(folder, path.name, deadline)
    finally:
        os.close(folder)


def remove_tree(folder: int, name: str, deadline: float | None = None) -> bool:
    """Delete ``name`` and all below it without following links, forcing its own closed folders open.

    False where the deadline (``time.monotonic``) came first; call again to go on.
    """
    top = _opened_or_unlinked(folder, name)
    if top is None:
        return True
    try:
        while entries := os.listdir(top):  # again for what was moved up from too far below
            if not all(_remove_below(top, entry, top, 1, deadline) for entry in entries):
                return False
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=folder)
    return True


def _remove_below(folder: int, name: str, top: int, depth: int, deadline: float | None) -> bool:
    """A folder far below is moved to the top instead: job code may nest deeper than we can hold folders open."""
    if deadline is not None and time.monotonic() > deadline:
        return False
    descriptor = _opened_or_unlinked(folder, name)
    if descriptor is None:
        return True
    try:
        if depth == _DEPTH:
            os.rename(name, TEMPORARY + secrets.token_hex(8), src_dir_fd=folder, dst_dir_fd=top)
            return True
        if not all(_remove_below(descriptor, entry, top, depth + 1, deadline) for entry in os.listdir(descriptor)):
            return False
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=folder)
    return True


def _opened_or_unlinked(folder: int, name: str) -> int | None:
    """Open a folder, whatever its mode; anything else is deleted instead."""
    try:
        try:
            descriptor = os.open(name, FOLDER, dir_fd=folder)
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=folder)
            descriptor = os.open(name, FOLDER, dir_fd=folder)
        os.fchmod(descriptor, 0o700)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=folder)
        return None
    return descriptor
