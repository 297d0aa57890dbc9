"""The shared filesystem of a workspace, as the portal's file browser sees it.

Job code writes here too, so no path can be trusted: each component is opened on its own, relative to the one before and
without following links. A link is shown as a link and can be moved or deleted, never followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from portal.clouds.base import CloudError, FileEntry
from portal.clouds.local.trees import FOLDER, TEMPORARY, remove_tree

_TEMPORARY_AGE = 24 * 3600
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_REPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class LocalFiles:
    """The files below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, path: str) -> list[FileEntry]:
        """The entries of a folder: folders first, then by name."""
        parts = split(path)
        with self._folder(parts, path) as folder:
            entries = []
            for name in os.listdir(folder):
                if not name.startswith(TEMPORARY):
                    with suppress(FileNotFoundError):
                        entries.append(entry_of(folder, name, [*parts, name]))
        return sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name))

    def stat(self, path: str) -> FileEntry:
        """One entry; ``FileNotFound`` where there is none."""
        parts = split(path)
        if not parts:
            with self._folder([], path) as folder:
                return entry_of(folder, ".", [])
        with self._parent(parts, path) as (folder, name):
            return entry_of(folder, name, parts)

    def open(self, path: str) -> BinaryIO:
        """A file for reading. Pipes and devices are refused: reading them might never end."""
        with self._parent(split(path), path) as (folder, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, path)
            raise CloudError("NotAFile", f"{path} is not a regular file.", permanent=True)

    def save(self, path: str, chunks: Iterator[bytes]) -> int:
        """Write a file whole or not at all, and return its size in bytes. A link of that name is replaced."""
        with self._parent(split(path, new=True), path) as (folder, name):
            clean(folder)
            self._refuse_folder(folder, name, path)
            temporary = TEMPORARY + secrets.token_hex(8)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                    size = file.tell()
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
            return size

    def make_folder(self, path: str) -> None:
        """Make a folder; its parent must exist."""
        with self._parent(split(path, new=True), path) as (folder, name):
            os.mkdir(name, dir_fd=folder)

    def move(self, source: str, destination: str) -> None:
        """Rename within the filesystem; ``FileExists`` rather than replace."""
        with (
            self._parent(split(source), source) as (from_folder, from_name),
            self._parent(split(destination, new=True), destination) as (to_folder, to_name),
        ):
            result = _libc.renameat2(from_folder, os.fsencode(from_name), to_folder, os.fsencode(to_name), _NO_REPLACE)
            number = ctypes.get_errno() if result < 0 else 0
            if number == errno.EINVAL:
                number = _renamed_on_nfs(from_folder, from_name, to_folder, to_name)
            if number == errno.EINVAL:
                message = f"{source} cannot be moved into itself."
                raise CloudError("PathNotAllowed", message, "Choose a folder outside it.", permanent=True)
            if number:
                raise explained(OSError(number, os.strerror(number)), destination if number == errno.EEXIST else source)

    def link(self, path: str, name: str) -> str | None:
        """None: the portal has to bring it."""
        return None

    def delete(self, path: str) -> None:
        """Delete a file, a link, or a folder with everything in it."""
        with self._parent(split(path), path) as (folder, name):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            remove_tree(folder, name)

    def _refuse_folder(self, folder: int, name: str, path: str) -> None:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise IsADirectoryError(errno.EISDIR, path)

    @contextmanager
    def _folder(self, parts: Sequence[str], path: str) -> Iterator[int]:
        """The open folder at the end of ``parts``; turns errors of the system into ours for all that goes on in it."""
        descriptor = -1
        try:
            descriptor = os.open(self.root, FOLDER)
            for part in parts:
                below = os.open(part, FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        except OSError as error:
            raise explained(error, path) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    @contextmanager
    def _parent(self, parts: Sequence[str], path: str) -> Iterator[tuple[int, str]]:
        if not parts:
            raise _not_allowed(path, "it is the filesystem itself")
        with self._folder(parts[:-1], path) as folder:
            yield folder, parts[-1]


def _renamed_on_nfs(from_folder: int, from_name: str, to_folder: int, to_name: str) -> int:
    """Rename without replacing where the filesystem cannot do both at once, as NFS: a file gets its second name before
    it loses the first, a folder takes the place of an empty one of ours. Returns the number of the error, or 0."""
    try:
        if stat.S_ISDIR(os.stat(from_name, dir_fd=from_folder, follow_symlinks=False).st_mode):
            os.mkdir(to_name, dir_fd=to_folder)
            try:
                os.rename(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
            except OSError:
                with suppress(OSError):
                    os.rmdir(to_name, dir_fd=to_folder)
                raise
        else:
            os.link(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
            os.unlink(from_name, dir_fd=from_folder)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def split(path: str, *, new: bool = False) -> list[str]:
    """The components of a relative path, or ``PathNotAllowed``. ``new`` names may hold no control characters."""
    if "\0" in path:
        raise _not_allowed(path.replace("\0", ""), "it holds a NUL character")
    if path.startswith("/"):
        raise _not_allowed(path, "it is not relative")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _not_allowed(path, "it leads upwards")
    if any(part.startswith(TEMPORARY) for part in parts):
        raise _not_allowed(path, f"names that start with {TEMPORARY} are reserved")
    if new and parts and _CONTROL.search(parts[-1]):
        raise _not_allowed(_CONTROL.sub("?", path), "its name holds control characters")
    if any("\ud800" <= character <= "\udbff" for character in path):
        raise _not_allowed(path.encode(errors="replace").decode(), "it is not valid text")
    return parts


def explained(error: OSError, path: str) -> CloudError:
    """What the system said, as a ``CloudError`` with a stable code and what to do."""
    code, message, hint = {
        errno.ENOENT: ("FileNotFound", "does not exist", "It may have been moved or deleted; reload the folder."),
        errno.EEXIST: ("FileExists", "exists already", "Choose another name, or delete it first."),
        errno.ENOTEMPTY: ("FileExists", "exists already", "Choose another name, or delete it first."),
        errno.ENOTDIR: ("NotAFolder", "is not a folder, or leads through something that is none", ""),
        errno.EISDIR: ("IsAFolder", "is a folder", "Choose a file."),
        errno.ELOOP: ("PathNotAllowed", "is a link, or leads through one; links are not followed", ""),
        errno.ENAMETOOLONG: ("NameTooLong", "is too long a name", "Use a name of at most 255 bytes."),
        errno.ENOSPC: ("DiskFull", "was not written: the disk is full", "Delete files that are no longer needed."),
        errno.EDQUOT: ("DiskFull", "was not written: the quota is used up", "Delete files that are no longer needed."),
        errno.EACCES: ("PermissionDenied", "may not be used by the portal's account", "Check its permissions."),
        errno.EPERM: ("PermissionDenied", "may not be used by the portal's account", "Check its permissions."),
        errno.EROFS: ("PermissionDenied", "is on a filesystem that cannot be written to", ""),
    }.get(error.errno or 0, ("FileError", f"failed: {error.strerror or error}", "Try again."))
    shown = path.encode(errors="replace").decode() or "The folder"
    return CloudError(code, f"{shown} {message}.", hint, permanent=code != "DiskFull")


def entry_of(folder: int, name: str, parts: Sequence[str]) -> FileEntry:
    """One entry of an open folder; ``parts`` are the components of its path."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    mode = status.st_mode
    kind = "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
    shown = [os.fsencode(part).decode(errors="replace") for part in parts]
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return FileEntry(shown[-1] if shown else "", "/".join(shown), kind, status.st_size, modified)


def clean(folder: int) -> None:
    """Remove what uploads that were killed left here."""
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY):
            with suppress(OSError):
                if time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _TEMPORARY_AGE:
                    os.unlink(name, dir_fd=folder)


def _not_allowed(path: str, why: str) -> CloudError:
    shown = path.encode(errors="replace").decode()
    return CloudError("PathNotAllowed", f"{shown!r} cannot be used: {why}.", "Use a relative path.", permanent=True)
