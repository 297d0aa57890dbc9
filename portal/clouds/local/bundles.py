"""Copies a bundle beside its run: whole or not at all, once, and with nothing in it that leads out of it."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from portal.clouds.base import CloudError
from portal.clouds.local import kernel
from portal.clouds.local.trees import remove_tree

COPY_SECONDS = 12.0
"""A start must not outlive the lease of who asked for it."""

_HALF = ".bundle"
_PIECE = 64 << 20
_NAMED = 20


def copy(source: Path, run: Path) -> Path:
    """The run's copy of a bundle, made unless it is there. It belongs to the run, which may write to it.

    Links that stay within the bundle are kept, all others left out, and said so in the run's log; neither are pipes and
    devices copied. A copy of before a reboot is not trusted: its blocks may never have reached the disk.
    """
    copied, mark = run / "bundle", run / "bundle.json"
    folder = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # another start of the same run waits, and finds ours
        boot = kernel.boot_id()
        if kernel.get(mark) == boot:
            return copied
        if not source.is_dir():
            message = "The code of this run is no longer on the portal's machine."
            raise CloudError("BundleMissing", message, "Run it again.")
        for name in (_HALF, "bundle"):
            remove_tree(folder, name)
        copying = _Copying(source.resolve(), run / _HALF)
        copying.all()
        _say(run, copying.left_out)
        os.rename(run / _HALF, copied)
        kernel.put(mark, boot)
    finally:
        os.close(folder)
    return copied


class _Copying:
    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self.deadline = time.monotonic() + COPY_SECONDS
        self.left_out: list[str] = []

    def all(self) -> None:
        """Folder by folder; nothing is opened through a link."""
        folders = [""]
        while folders:
            path = folders.pop()
            os.mkdir(self.target / path, 0o755)
            for entry in os.scandir(self.source / path):
                below = f"{path}/{entry.name}".lstrip("/")
                if entry.is_symlink():
                    self.link(below)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(below)
                elif entry.is_file(follow_symlinks=False):
                    self.file(below)
                else:
                    self.left_out.append(below)
                self.hurry()

    def link(self, path: str) -> None:
        """A link is written anew, by the shortest way to where it leads: that way cannot leave the bundle."""
        link = self.source / path
        leads_to = os.path.realpath(link)
        if Path(leads_to).is_relative_to(self.source):
            os.symlink(os.path.relpath(leads_to, link.parent), self.target / path)
        else:
            self.left_out.append(path)

    def file(self, path: str) -> None:
        """The contents, and of the mode only whether it can be run."""
        with (
            open(self.source / path, "rb", opener=_not_through_a_link) as original,
            open(self.target / path, "xb") as copied,
        ):
            mode = os.fstat(original.fileno()).st_mode
            os.fchmod(copied.fileno(), 0o755 if mode & stat.S_IXUSR else 0o644)
            at = 0
            while sent := os.sendfile(copied.fileno(), original.fileno(), at, _PIECE):
                at += sent
                self.hurry()

    def hurry(self) -> None:
        """Give up in time."""
        if time.monotonic() > self.deadline:
            message = f"Copying the code to the cluster took longer than {COPY_SECONDS:.0f} seconds."
            raise CloudError("BundleTooLarge", message, "Keep data out of the source; read it from the workspace.")


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _say(run: Path, left_out: list[str]) -> None:
    if left_out:
        names = ", ".join(sorted(left_out)[:_NAMED]) + (" …" if len(left_out) > _NAMED else "")
        with open(run / "stderr.log", "w") as log:
            log.write(f"Not copied, because they lead out of the source or are no files: {names}\n")
