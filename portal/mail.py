"""Outgoing mail: written in the transaction of what it tells about, sent by a worker, tried again until it is gone.

A request never waits for a mail server, and a crash between the commit and the delivery loses nothing. Delivery is at
least once: a worker that dies after the server took a mail, and before it wrote that down, sends it again.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from portal import queue
from portal.crypto import seal, unseal
from portal.models import OutgoingMail

logger = logging.getLogger(__name__)

CLAIM = timedelta(minutes=2)
"""How long a delivery may take before another worker tries."""

GIVE_UP = timedelta(days=2)
LONGEST_PAUSE = timedelta(hours=1)


def post(*, to: str, subject: str, text: str) -> OutgoingMail:
    """Write a mail to one person; a worker sends it after the commit.

    ``text`` may hold links that are as good as a password, so it is sealed in the database and forgotten once sent.
    Raises RuntimeError outside a transaction: a mail about a write belongs to it.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("A mail belongs into the transaction of what it tells about.")
    row = OutgoingMail.objects.create(to=to, subject=" ".join(subject.split())[:300], sealed=seal({"text": text}))
    transaction.on_commit(lambda: queue.call("portal.tasks.deliver", row.pk))
    return row


def deliver(pk: int) -> None:
    """Send one mail if it is due and nobody else is sending it."""
    now = timezone.now()
    claimed = OutgoingMail.objects.filter(pk=pk, due_at__lte=now).update(due_at=now + CLAIM, attempts=F("attempts") + 1)
    if not claimed:
        return
    row = OutgoingMail.objects.get(pk=pk)
    try:
        body = unseal(row.sealed)["text"]
        EmailMessage(row.subject, body, settings.DEFAULT_FROM_EMAIL, [row.to]).send()
    except Exception as error:  # whatever the server or the network says, it is tried again
        given_up = now - row.created_at > GIVE_UP
        logger.warning("Mail %d was not sent (attempt %d): %s", pk, row.attempts, error)
        row.due_at = None if given_up else now + min(LONGEST_PAUSE, timedelta(seconds=5 * 2 ** min(row.attempts, 10)))
        row.failure = f"{type(error).__name__}: {error}"[:500]
        row.save(update_fields=["due_at", "failure"])
    else:
        row.sent_at, row.due_at, row.sealed, row.failure = timezone.now(), None, "", ""
        row.save(update_fields=["sent_at", "due_at", "sealed", "failure"])


def sweep() -> int:
    """Hand all mail that is due to the workers, and return how many there were."""
    due = list(
        OutgoingMail.objects.filter(due_at__lte=timezone.now()).order_by("due_at").values_list("pk", flat=True)[:200]
    )
    for pk in due:
        queue.call("portal.tasks.deliver", pk)
    return len(due)
