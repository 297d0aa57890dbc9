"""The one thing that reading the audit log writes."""

from __future__ import annotations

from django.db import transaction

from accounts import audit
from accounts.audit import Actor
from accounts.audit_search import Wanted
from accounts.models import AuditEvent, Organization


@transaction.atomic
def note_export(*, actor: Actor, organization: Organization, kind: str, wanted: Wanted) -> AuditEvent:
    """Note that somebody takes the log, or a part of it, away. What is older than this event is what they get."""
    return audit.record(
        actor, "audit.export", organization, organization=organization, format=kind, filter=wanted.stated()
    )
