"""The triggers that keep the audit log as it is, off for a while: what somebody with the right to it could do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

TABLES = ("accounts_auditevent", "accounts_auditseal")
APPEND_ONLY = "audit_append_only"
NOT_EMPTIED = "audit_not_emptied"
SEALED = "audit_wait"


def switch(trigger: str, *, on: bool) -> None:
    """Enable or disable a trigger on the tables that have it, for everybody."""
    with connection.cursor() as cursor:
        for table in TABLES if trigger != SEALED else TABLES[:1]:
            cursor.execute(f"ALTER TABLE {table} {'ENABLE' if on else 'DISABLE'} TRIGGER {trigger}")


@contextmanager
def switched_off(*triggers: str) -> Iterator[None]:
    """Without these triggers."""
    for trigger in triggers:
        switch(trigger, on=False)
    try:
        yield
    finally:
        for trigger in triggers:
            switch(trigger, on=True)
