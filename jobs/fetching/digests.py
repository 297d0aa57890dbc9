"""One number for all that was fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_tree(root: Path) -> str:
    """The SHA-256 over the sorted lines ``<SHA-256 of the file>  <path>``, as ``sha256sum`` writes them; links by their
    target."""
    lines = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            lines.append(f"link {path.readlink()}  {name}\n")
        elif path.is_file():
            lines.append(f"{of_file(path)}  {name}\n")
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
