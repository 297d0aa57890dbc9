"""A marketplace to try: signs tokens as AWS Marketplace would issue them, and resolves them as AWS would."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import asdict, fields

from django.core import signing

from accounts.marketplace import Purchase, expired_token, invalid_token

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


class _Signer(signing.TimestampSigner):
    """Signs as of some seconds ago."""

    def __init__(self, age: int = 0) -> None:
        super().__init__(salt=SALT)
        self.age = age

    def timestamp(self) -> str:
        """In the form that ``TimestampSigner`` reads."""
        return signing.b62_encode(int(time.time()) - self.age)
