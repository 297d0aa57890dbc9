"""The triggers that keep the audit log and statements as they are, off for a while: what somebody with the right to it
could do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

TABLES = ("accounts_auditevent", "accounts_auditseal")
APPEND_ONLY = "audit_append_only"
NOT_EMPTIED = "audit_not_emptied"
SEALED = "audit_wait"
STATEMENTS_NOT_EMPTIED = "statement_not_emptied"
STATEMENTS_FROZEN = ("statement_kept", "statement_line_frozen")
TABLES_OF = {
    APPEND_ONLY: TABLES,
    NOT_EMPTIED: TABLES,
    SEALED: TABLES[:1],
    "statement_kept": ("billing_statement",),
    "statement_line_frozen": ("billing_statementline",),
    STATEMENTS_NOT_EMPTIED: ("billing_statement", "billing_statementline"),
}


def switch(trigger: str, *, on: bool) -> None:
    """Enable or disable a trigger on the tables that have it, for everybody."""
    with connection.cursor() as cursor:
        for table in TABLES_OF[trigger]:
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
