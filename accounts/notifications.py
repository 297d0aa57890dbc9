"""What a message of AWS Marketplace says. Two kinds arrive in the queue, and both are read.

Products from before June 2026 send through Amazon SNS: ``aws-mp-subscription-notification`` and
``aws-mp-entitlement-notification`` name the product and a customer identifier. Newer ones send events through Amazon
EventBridge (source ``aws.agreement-marketplace``), which name the product, the buyer's account and the licence. Of
those, the licence's events say all that matters here. That an agreement ended does not: one that is renewed ends, too.

Sources: AWS Marketplace seller guide, "Amazon SNS notifications for SaaS products", "Managing SaaS subscription events
with Amazon EventBridge" and "Amazon EventBridge events". Only read, never seen from AWS itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SUBSCRIBED, FAILED = "subscribe-success", "subscribe-fail"
CANCELLED, ENDED = "unsubscribe-pending", "unsubscribe-success"
ENTITLED = "entitlement-updated"
LICENSE_UPDATED = "License Updated - Manufacturer"
LICENSE_ENDED = "License Deprovisioned - Manufacturer"
ACTIONS = frozenset({SUBSCRIBED, FAILED, CANCELLED, ENDED, ENTITLED, LICENSE_UPDATED, LICENSE_ENDED})
"""What is acted on."""

SOURCE = "aws.agreement-marketplace"
LONGEST = 100_000
"""Characters of a body that are kept; SQS takes no more than 1 MiB."""


class UnreadableError(Exception):
    """The message makes no sense; the text says why."""


@dataclass(frozen=True)
class Message:
    """One notification. ``key`` is what its sender calls it: the same again is the same notification.

    ``customer`` is an account or a customer identifier; ``sent_at`` is None where the message does not say.
    """

    key: str
    action: str
    product_code: str
    customer: str
    license_arn: str = ""
    sent_at: datetime | None = None


def read(body: str, message_id: str) -> Message:
    """A message as it lies in the queue, which calls it ``message_id``. Raises UnreadableError."""
    outer = _mapping(body, "The message")
    if "detail-type" in outer:
        return _event(outer, message_id)
    if "Message" not in outer:  # SNS with raw delivery: no envelope, so the queue's name for it has to do
        return _notice(outer, message_id, None)
    inner = _mapping(outer["Message"], "The message in the envelope")
    return _notice(inner, _text(outer, "MessageId") or message_id, _time(outer.get("Timestamp")))


def fallback_key(body: str, message_id: str) -> str:
    """What an unreadable message is called."""
    return message_id or hashlib.sha256(body.encode(errors="replace")).hexdigest()


def license_id(arn: str) -> str:
    """The last part of a licence's ARN, by which it is known: AWS's own examples write the rest in several ways."""
    return arn.rpartition(":")[2]


def _notice(said: dict[str, Any], key: str, sent_at: datetime | None) -> Message:
    action = _text(said, "action")
    product = _text(said, "product-code") or _text(said, "ProductCode")
    customer = _text(said, "customer-identifier") or _text(said, "CustomerIdentifier")
    if not action:
        raise UnreadableError("It has no action.")
    if action in ACTIONS and not (product and customer):
        raise UnreadableError("It names no product or no customer.")
    return Message(key, action, product, customer, sent_at=sent_at)


def _event(event: dict[str, Any], message_id: str) -> Message:
    action, detail = _text(event, "detail-type"), event.get("detail")
    sent_at = _time(event.get("time"))
    if _text(event, "source") != SOURCE or action not in ACTIONS:
        return Message(_text(event, "id") or message_id, action, "", "", sent_at=sent_at)
    if not isinstance(detail, dict):
        raise UnreadableError("It has no detail.")
    product, customer = _within(detail, "product", "code"), _within(detail, "acceptor", "accountId")
    if not product or not customer:
        raise UnreadableError("It names no product or no customer.")
    return Message(
        _text(event, "id") or message_id, action, product, customer, _within(detail, "license", "arn"), sent_at
    )


def _mapping(text: object, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableError(f"{name} is no JSON object.")
    return found


def _within(detail: dict[str, Any], outer: str, inner: str) -> str:
    found = detail.get(outer)
    return _text(found, inner) if isinstance(found, dict) else ""


def _text(said: dict[str, Any], name: str) -> str:
    """Without the blanks that AWS's own examples have around identifiers."""
    found = said.get(name)
    text = found.strip() if isinstance(found, str) else ""
    longest = 1200 if name == "arn" else 255
    if len(text) > longest or any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise UnreadableError(f"Its {name} is no identifier.")
    return text


def _time(text: object) -> datetime | None:
    """UTC; None for what is no time."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
