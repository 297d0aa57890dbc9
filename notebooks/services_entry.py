"""The way in: a ticket that the portal hands over, and the visit that it becomes on the notebooks' host.

Keys are stored hashed. Both are bound to the sign-in on the portal: whatever ends that ends them.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from notebooks.models import NotebookServer, NotebookTicket, NotebookVisit

TICKET_SECONDS = 30


def hash_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


@transaction.atomic
def make_ticket(*, actor: Actor, server: NotebookServer, session_key: str) -> str:
    """A key that opens the server once, within 30 seconds, for this sign-in."""
    key = secrets.token_urlsafe(32)
    NotebookTicket.objects.create(server=server, key_hash=hash_of(key), session_key=session_key)
    organization = server.workspace.organization
    audit.record(actor, "notebook.enter", server, organization=organization, workspace=server.workspace.name)
    return key


@transaction.atomic
def redeem(*, server_id: UUID, key: str) -> tuple[str, NotebookVisit] | None:
    """The key of a new visit for a ticket, and the visit; None for a ticket that is used, too old or another server's.

    Its making was audited.
    """
    since = timezone.now() - timedelta(seconds=TICKET_SECONDS)
    tickets = NotebookTicket.objects.select_for_update().filter(server_id=server_id, key_hash=hash_of(key))
    ticket = tickets.first()
    if ticket is None:
        return None
    ticket.delete()
    if ticket.made_at < since:
        return None
    visit_key = secrets.token_urlsafe(32)
    visit = NotebookVisit.objects.create(
        server_id=server_id, key_hash=hash_of(visit_key), session_key=ticket.session_key
    )
    return visit_key, visit
