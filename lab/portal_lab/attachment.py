"""Which cluster a notebook is attached to. The server writes it down for each kernel, the kernel reads it.

A file ``<kernel id>.json`` in the folder that PORTAL_ATTACHMENTS names, with::

    state       STARTING, READY or ENDED
    cluster     the name of the cluster
    engines     which engines they are: another text for each start
    workers     how many ranks there are
    reason      in a sentence, why they ended
    connection  how to speak to the controller, as ipyparallel has it: a secret

No file: the notebook is detached.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KERNEL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Attachment:
    """What is written down."""

    state: str
    cluster: str
    engines: str
    workers: int = 0
    reason: str = ""
    connection: dict[str, Any] = field(default_factory=dict, repr=False)


def read(kernel: str) -> Attachment | None:
    """The attachment of a kernel, or None while it is detached."""
    try:
        told = json.loads(_path(kernel).read_text())
    except FileNotFoundError:
        return None
    return Attachment(**{name: told[name] for name in Attachment.__dataclass_fields__ if name in told})


def write(kernel: str, told: dict[str, Any] | None) -> None:
    """Put down an attachment whole, or take it away."""
    path = _path(kernel)
    if told is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.touch(mode=0o600)
    half.write_text(json.dumps(told))
    half.replace(path)


def own_kernel() -> str:
    """The id of the kernel in which we run; empty outside of a notebook."""
    try:
        from ipykernel.connect import get_connection_file

        found = KERNEL_ID.search(Path(get_connection_file()).name)
    except Exception:  # not in a kernel
        return os.environ.get("PORTAL_KERNEL", "")
    return found[0] if found else ""


def _path(kernel: str) -> Path:
    if not KERNEL_ID.fullmatch(kernel):
        raise FileNotFoundError(f"{kernel!r} is no kernel's id")
    return Path(os.environ.get("PORTAL_ATTACHMENTS", "/nonexistent"), f"{kernel}.json")
