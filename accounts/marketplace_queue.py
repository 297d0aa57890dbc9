"""Reads the SQS queue into which AWS Marketplace's notifications come.

A message is deleted once what it says is committed. One that comes again, because the answer to the deletion was lost
or a process died in between, is known by then.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts import audit
from accounts.marketplace import client
from accounts.services_subscriptions import take_notification

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5
"""How long SQS may hold an empty answer back; a scheduler that is stopped waits for no more than this."""

ROUNDS = 100
"""Batches of 10 in one reading."""

BY = audit.system("AWS Marketplace")


def read() -> int:
    """Take what is in the queue, and return how many messages were done with.

    Raises botocore's errors where the queue cannot be read: the scheduler logs them and tries again.
    """
    address = settings.PORTAL_MARKETPLACE_QUEUE_URL
    if settings.PORTAL_MARKETPLACE != "aws" or not address:
        return 0
    sqs = client("sqs", _region(address), WAIT_SECONDS + 10)
    done = 0
    for _ in range(ROUNDS):
        answer = sqs.receive_message(
            QueueUrl=address,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        messages = answer.get("Messages", [])
        for message in messages:
            if _taken(message):
                sqs.delete_message(QueueUrl=address, ReceiptHandle=message["ReceiptHandle"])
                done += 1
        if not messages:
            break
    return done


def _taken(message: dict[str, Any]) -> bool:
    """Whether a message is kept now. One that is not comes again, after the time that the queue hides it."""
    try:
        take_notification(
            actor=BY, body=message.get("Body", ""), message_id=message.get("MessageId", ""), sent_at=_sent_at(message)
        )
    except Exception:  # one that fails must not keep those after it from being read
        logger.exception("Message %s of AWS Marketplace was not taken; it comes again", message.get("MessageId"))
        return False
    return True


def _sent_at(message: dict[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    except (KeyError, ValueError, OverflowError):
        return timezone.now()


def _region(address: str) -> str:
    """Where the queue is: its address says so."""
    found = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.", address)
    return found[1] if found else str(settings.PORTAL_MARKETPLACE_REGION)
