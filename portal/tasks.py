"""What workers run: tasks that take an id and call one function."""

from __future__ import annotations

from django.db import close_old_connections

from portal import mail
from portal import reconcile as engine


def reconcile(name: str, pk: str) -> None:
    """Bring one row as far toward its target as it goes now."""
    close_old_connections()
    engine.run(name, pk)


def deliver(pk: int) -> None:
    """Send one mail."""
    close_old_connections()
    mail.deliver(pk)
