"""Each write of the notebooks app as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from notebooks import services, services_entry
from notebooks.models import NotebookServer
from tests.notebooks.making import make_server
from tests.pages.world import Tenants


def _server(t: Tenants, **fields: Any) -> NotebookServer:
    return make_server(t.annex.workspace, t.people["owner"], **fields)


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "notebooks.services.provide": (
        "notebook.create",
        lambda t, by: services.provide(**by, workspace=t.annex.workspace),
    ),
    "notebooks.services.start": (
        "notebook.start",
        lambda t, by: services.start(**by, server=_server(t, status="STOPPED", target="STOPPED")),
    ),
    "notebooks.services.restart": ("notebook.restart", lambda t, by: services.restart(**by, server=_server(t))),
    "notebooks.services.stop": ("notebook.stop", lambda t, by: services.stop(**by, server=_server(t))),
    "notebooks.services.change": (
        "notebook.update",
        lambda t, by: services.change(**by, server=_server(t), image="4.6", size="large", idle_stop_minutes=30),
    ),
    "notebooks.services.stay": ("notebook.stay", lambda t, by: services.stay(**by, server=_server(t))),
    "notebooks.services.end": (
        "notebook.delete",
        lambda t, by: services.end(**by, server=_server(t), reason="a test"),
    ),
    "notebooks.services_entry.make_ticket": (
        "notebook.enter",
        lambda t, by: services_entry.make_ticket(**by, server=_server(t), session_key="not-in-any-log"),
    ),
}

MAKES_ITS_OWN = tuple(name for name in WRITES if name != "notebooks.services.provide")
