"""What runs inside AWS Lambda: the files of one workspace, mounted from EFS.

Nothing but the standard library and the files of LOCAL: the same paths are refused, in the same words. One call does
one thing within a few seconds; what takes longer says so and is asked for again. Whatever was asked and answered
without an answer getting through may be asked again, and does no harm.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, FileEntry
from portal.clouds.local.files import LocalFiles, clean, entry_of, explained, split
from portal.clouds.local.trees import TEMPORARY, remove_tree

ROOT = "/mnt/bodofs"
SECONDS = 4.0
"""How long one call works at most on what can be gone on with."""

MOST_LETTERS = 5_000_000
"""In one answer, which AWS limits to 6 MB."""


class MountedFiles(LocalFiles):
    """The files in pieces that fit into a call."""

    def page(self, path: str, after: str) -> dict[str, Any]:
        """The entries of a folder that come after a name, as many as time and size allow."""
        deadline = time.monotonic() + SECONDS
        parts = split(path)
        entries: list[dict[str, Any]] = []
        letters = 0
        with self._folder(parts, path) as folder:
            for name in sorted(os.listdir(folder), key=os.fsencode):
                marker = os.fsencode(name).hex()
                if marker <= after or name.startswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):
                    entries.append(_shown(entry_of(folder, name, [*parts, name])))
                    letters += len(json.dumps(entries[-1])) + 2
                if time.monotonic() > deadline or letters > MOST_LETTERS:
                    return {"entries": entries, "after": marker}
        return {"entries": entries, "after": None}

    def piece(self, path: str, offset: int, size: int, same: str) -> dict[str, Any]:
        """Bytes of a file. ``same`` is what the first piece said of the file; another file of that name is refused."""
        with self.open(path) as file:
            status = os.fstat(file.fileno())
            which = f"{status.st_dev}-{status.st_ino}"
            if same and which != same:
                message = f"{path} was replaced while it was read."
                raise CloudError("FileChanged", message, "Open it again.", permanent=True)
            file.seek(offset)
            data = file.read(size)
        return {"data": base64.b64encode(data).decode(), "same": which}

    def whole(self, path: str, data: str) -> dict[str, Any]:
        """Save a file that fits into one call."""
        return {"size": self.save(path, iter([base64.b64decode(data)]))}

    def part(self, path: str, upload: str, offset: int, data: str) -> dict[str, Any]:
        """Write a part of an upload, whose temporary file lies beside the file that it will be."""
        with self._parent(split(path, new=True), path) as (folder, name):
            if offset == 0:
                clean(folder)
                self._refuse_folder(folder, name, path)
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if offset == 0 else 0)
            descriptor = os.open(_temporary(upload), flags, 0o644, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.seek(offset)
                file.write(base64.b64decode(data))
                status = os.fstat(file.fileno())
        return {"same": f"{status.st_dev}-{status.st_ino}"}

    def commit(self, path: str, upload: str, size: int, same: str) -> dict[str, Any]:
        """Put a whole upload in place. Asked again, it sees that this was done."""
        with self._parent(split(path, new=True), path) as (folder, name):
            temporary = _temporary(upload)
            try:
                descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if f"{status.st_dev}-{status.st_ino}" != same:
                    raise
                return {"size": size}
            try:
                if os.fstat(descriptor).st_size != size:
                    raise CloudError("UploadBroken", f"Not all of {path} arrived.", "Upload it again.", permanent=True)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._refuse_folder(folder, name, path)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return {"size": size}

    def discard(self, path: str, upload: str) -> dict[str, Any]:
        """Forget an upload."""
        with self._parent(split(path, new=True), path) as (folder, _), suppress(FileNotFoundError):
            os.unlink(_temporary(upload), dir_fd=folder)
        return {}

    def remove(self, path: str) -> dict[str, Any]:
        """Delete, as much as time allows; ``more`` says that it has to be asked for again."""
        with self._parent(split(path), path) as (folder, name):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return {"more": not remove_tree(folder, name, time.monotonic() + SECONDS)}


def _temporary(upload: str) -> str:
    if len(upload) != 16 or not set(upload) <= set("0123456789abcdef"):
        raise CloudError("UploadBroken", "That is no upload.", "Upload the file again.", permanent=True)
    return TEMPORARY + upload


def _shown(entry: FileEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": entry.path,
        "kind": entry.kind,
        "size": entry.size,
        "modified": entry.modified.timestamp(),
    }


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """One call. ``do`` is what to do, the rest its parameters."""
    files = MountedFiles(Path(os.environ.get("PORTAL_FILES_ROOT", ROOT)))
    verbs: dict[str, Callable[..., Any]] = {
        "list": files.page,
        "stat": lambda path: _shown(files.stat(path)),
        "read": files.piece,
        "save": files.whole,
        "part": files.part,
        "commit": files.commit,
        "discard": files.discard,
        "make_folder": files.make_folder,
        "move": files.move,
        "delete": files.remove,
    }
    parameters = dict(event)
    try:
        return {"answer": verbs[parameters.pop("do")](**parameters)}
    except OSError as error:
        return {"error": _told(explained(error, str(event.get("path", ""))))}
    except CloudError as error:
        return {"error": _told(error)}


def _told(error: CloudError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "hint": error.hint, "permanent": error.permanent}
