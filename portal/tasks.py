"""What workers run: one task, which takes an id and calls one function."""

from __future__ import annotations

from django.db import close_old_connections

from portal import reconcile as engine


def reconcile(name: str, pk: str) -> None:
    """Bring one row as far toward its target as it goes now."""
    close_old_connections()
    engine.run(name, pk)
