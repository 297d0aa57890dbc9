"""E-mail addresses as the portal compares and stores them: one spelling for each mailbox, in plain ASCII.

Two texts that look the same must not be two accounts, and two mailboxes that only look the same must not be one. So
compatibility forms (full width, ligatures, the Kelvin sign) and case are folded away, an international domain gets its
ASCII form (``xn--…``), in which no letter can pass for another, and a mailbox outside ASCII is refused.
"""

from __future__ import annotations

import unicodedata

import idna
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email

LENGTH = 254
"""Characters of an address: what mail can carry, and what the column holds."""


def normal_email(text: str) -> str:
    """The one spelling of an address. What has none comes back as it is, in lower case, for others to refuse."""
    text = unicodedata.normalize("NFKC", text).strip().lower()
    mailbox, at, domain = text.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:
            return text
    return f"{mailbox}{at}{domain}"


def clean_email(text: str) -> str:
    """The one spelling of an address that mail can be sent to. Raises ValidationError."""
    email = normal_email(text)
    if not email.isascii():
        raise ValidationError("Use an address in letters a to z, digits and punctuation.", code="not_ascii")
    validate_email(email)
    MaxLengthValidator(LENGTH)(email)
    return email


def shown(email: str) -> str:
    """An address for people who decide by it: with both spellings of an international domain."""
    mailbox, _, domain = email.rpartition("@")
    try:
        written = idna.decode(domain)
    except UnicodeError:
        return email
    return email if written == domain else f"{mailbox}@{written} ({domain})"


def masked(email: str) -> str:
    """Enough of an address to know one's own by it: ``a•••@e•••.org``."""
    mailbox, _, domain = email.rpartition("@")
    first, dot, last = domain.rpartition(".")
    return f"{mailbox[:1]}•••@{(first or last)[:1]}•••{dot}{last if dot else ''}"
