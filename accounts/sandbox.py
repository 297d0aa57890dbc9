"""A marketplace to try: signs tokens as AWS Marketplace would issue them, and resolves them as AWS would; says what AWS
would say of subscriptions, and what they are entitled to. All of it is marked, and nobody is charged.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import asdict, fields
from datetime import datetime, timedelta

from django.core import signing
from django.utils import timezone

from accounts import notifications
from accounts.marketplace import Purchase, expired_token, invalid_token
from accounts.models import MarketplaceNotification, MarketplaceSubscription
from accounts.services_subscriptions import Granted

SALT = "accounts.sandbox"
LIFETIME_SECONDS = 600


def token_for(purchase: Purchase, *, age: int = 0) -> str:
    """A registration token issued ``age`` seconds ago; another one each time, as AWS's are."""
    return _Signer(age).sign_object({**asdict(purchase), "nonce": secrets.token_hex(8)})


def forged_token(purchase: Purchase) -> str:
    """A token that somebody else signed."""
    return signing.TimestampSigner(key=secrets.token_hex(), salt=SALT).sign_object(asdict(purchase))


def random_account() -> str:
    """The twelve digits of an AWS account."""
    return f"{secrets.randbelow(10**12):012}"


def license_of(account: str, product_code: str) -> str:
    """The licence that an account has for a product; the same each time."""
    digest = hashlib.sha256(f"{account} {product_code}".encode()).hexdigest()
    return f"arn:aws:license-manager::{account}:license:l-{digest[:32]}"


def resolve(token: str) -> Purchase:
    """In AWS's place. Raises UserError."""
    try:
        values = _Signer().unsign_object(token, max_age=LIFETIME_SECONDS)
    except signing.SignatureExpired:
        raise expired_token() from None
    except signing.BadSignature:
        raise invalid_token() from None
    return Purchase(**{field.name: values[field.name] for field in fields(Purchase)})


EXPIRES = "sandbox-expires"
"""In the sandbox's message that entitlements changed: until when the contract goes on from there."""

NOTIFICATIONS = {
    "subscribe-success": "The customer is subscribed, or is so again.",
    "subscribe-fail": "The payment failed.",
    "unsubscribe-pending": "The customer cancels: an hour is left to report what was used.",
    "unsubscribe-success": "The subscription has ended.",
    "entitlement-updated": "The contract is renewed for a year.",
    "entitlement-expired": "The contract has expired. AWS calls this entitlement-updated, too.",
}


def notification(subscription: MarketplaceSubscription, name: str) -> str:
    """The message that AWS would put into the queue: SNS's envelope around it."""
    message = {
        "action": name,
        "customer-identifier": subscription.customer,
        "product-code": subscription.product_code,
    }
    if name == "entitlement-updated":
        message[EXPIRES] = (timezone.now() + timedelta(days=365)).isoformat()
    elif name == "entitlement-expired":
        message |= {"action": notifications.ENTITLED, EXPIRES: timezone.now().isoformat()}
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": secrets.token_hex(16),
            "Message": json.dumps(message),
            "Timestamp": timezone.now().isoformat(),
        }
    )


def entitlements(subscription: MarketplaceSubscription) -> list[Granted]:
    """What the last such message said; a year from the beginning where there was none."""
    rows = MarketplaceNotification.objects.filter(subscription=subscription, action=notifications.ENTITLED)
    last = rows.order_by("-sent_at", "-pk").first()
    ends = subscription.created_at + timedelta(days=365)
    if last:
        ends = datetime.fromisoformat(json.loads(json.loads(last.body)["Message"])[EXPIRES])
    return [Granted("sandbox", "Enabled", ends)]


class _Signer(signing.TimestampSigner):
    """Signs as of some seconds ago."""

    def __init__(self, age: int = 0) -> None:
        super().__init__(salt=SALT)
        self.age = age

    def timestamp(self) -> str:
        """In the form that ``TimestampSigner`` reads."""
        return signing.b62_encode(int(time.time()) - self.age)
