"""Rows of notebooks."""

from __future__ import annotations

from typing import Any

from notebooks.models import NotebookServer
from portal.crypto import seal


def make_server(workspace: Any, user: Any, **fields: Any) -> NotebookServer:
    """One that runs, of which no cloud has heard."""
    given = {"image": "4.6", "size": "small", "status": "RUNNING", "due_at": None, **fields}
    return NotebookServer.objects.create(
        workspace=workspace, user=user, sealed=seal({"secret": "not-in-any-log"}), **given
    )
