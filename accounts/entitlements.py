"""What the customers of contracts are entitled to: AWS is asked every hour, when a contract ends, and when it says so.

Source: GetEntitlements in AWS's API reference. Never run against AWS itself.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts import audit, sandbox
from accounts.marketplace import client
from accounts.models import MarketplaceSubscription
from accounts.services_subscriptions import Granted, record_entitlements

logger = logging.getLogger(__name__)

REGION = "us-east-1"
"""The only one with this service."""

CLAIM = timedelta(minutes=2)
"""How long one answer may take before it is asked for again."""

PAGES = 20
BY = audit.system("AWS Marketplace")


class NoAnswerError(Exception):
    """AWS did not answer; the text says why."""


def read_due() -> int:
    """Ask for all contracts whose entitlements are due, and return how many were answered. One after the other: what
    fails is asked again in minutes, and what is known of it stays."""
    done = 0
    rows = MarketplaceSubscription.objects.played(settings.PORTAL_MARKETPLACE)
    for row in rows.filter(entitlements_due_at__lte=timezone.now()).order_by("entitlements_due_at")[:500]:
        now = timezone.now()
        mine = rows.filter(pk=row.pk, entitlements_due_at=row.entitlements_due_at)
        if not mine.update(entitlements_due_at=now + CLAIM):
            continue  # another scheduler asks
        try:
            granted = sandbox.entitlements(row) if row.sandbox else _ask(row)
        except NoAnswerError as error:
            logger.warning("AWS Marketplace does not say what %s is entitled to: %s", row, error)
            continue
        record_entitlements(actor=BY, subscription=row, granted=granted, read_at=now)
        done += 1
    return done


def _ask(row: MarketplaceSubscription) -> list[Granted]:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if row.license_arn:
        only = {"LICENSE_ARN": [row.license_arn]}
    elif row.account_id:
        only = {"CUSTOMER_AWS_ACCOUNT_ID": [row.account_id]}
    else:
        only = {"CUSTOMER_IDENTIFIER": [row.customer_identifier]}
    found: list[Granted] = []
    asked: dict[str, Any] = {"ProductCode": row.product_code, "Filter": only}
    for _ in range(PAGES):
        try:
            answer = client("marketplace-entitlement", REGION, 10).get_entitlements(**asked)
            found += [_granted(each) for each in answer["Entitlements"]]  # a list, empty or not
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            raise NoAnswerError(str(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NoAnswerError(f"an answer that makes no sense ({type(error).__name__})") from None
        if not answer.get("NextToken"):  # pages may be empty and yet not be the last
            return found
        asked["NextToken"] = answer["NextToken"]
    raise NoAnswerError("an answer without an end")


def _granted(said: dict[str, Any]) -> Granted:
    value = next(iter((said.get("Value") or {}).values()), "")
    expires_at = said.get("ExpirationDate")
    if expires_at is not None and not isinstance(expires_at, datetime):
        raise ValueError("no date")
    return Granted(str(said["Dimension"]), str(value), expires_at.astimezone(UTC) if expires_at else None)
