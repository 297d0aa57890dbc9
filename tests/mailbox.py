"""The mail that went out, in the order in which it was written. Tests never commit, so they deliver it themselves."""

from __future__ import annotations

import re

from django.core import mail
from django.core.mail import EmailMessage

from portal.mail import deliver
from portal.models import OutgoingMail


def delivered() -> list[EmailMessage]:
    """All mail so far; what waits is sent first."""
    for pk in OutgoingMail.objects.exclude(due_at=None).order_by("pk").values_list("pk", flat=True):
        deliver(pk)
    return mail.outbox


def link_in_mail(to: str = "") -> str:
    """The path of the first link in the newest mail (to ``to``) that has one."""
    texts = [str(message.body) for message in reversed(delivered()) if not to or message.to == [to]]
    found = next(filter(None, (re.search(r"https?://[^/\s]+(/\S+)", text) for text in texts)), None)
    assert found, texts
    return found.group(1)
