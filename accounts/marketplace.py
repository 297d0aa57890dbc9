"""What a registration token of AWS Marketplace stands for: AWS answers, or the sandbox in its place.

The code for AWS was tested against a server that speaks its protocol, never against the service itself.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from portal.errors import UserError

logger = logging.getLogger(__name__)

TOKEN_FIELD = "x-amzn-marketplace-token"  # noqa: S105 - the name of a form field
TOKEN_LENGTH = 8192
"""Characters of a token that we take; AWS sends some hundreds."""

AGAIN = (
    "Go back to AWS Marketplace, open your subscription and choose “Set up your account” again. "
    "Your subscription is not affected."
)
METERING = "meteringmarketplace"
BUSY = frozenset({"ThrottlingException", "InternalServiceErrorException", "RequestLimitExceeded", "ServiceUnavailable"})


@dataclass(frozen=True)
class Purchase:
    """Who bought what. AWS gives new products no customer identifier, and old ones no licence."""

    product_code: str
    account_id: str = ""
    customer_identifier: str = ""
    license_arn: str = ""

    @property
    def customer(self) -> str:
        """By what the customer is known."""
        return self.account_id or self.customer_identifier


def resolve(token: str) -> Purchase:
    """Ask what a token stands for. The token must not be written anywhere.

    Raises UserError: MarketplaceOff, MarketplaceTokenMissing, MarketplaceTokenInvalid, MarketplaceTokenExpired,
    MarketplaceProductUnknown; MarketplaceBusy and MarketplaceRefused, after which the same token may be tried again.
    """
    if settings.PORTAL_MARKETPLACE == "off":
        raise UserError(
            "MarketplaceOff", "This portal is not sold through AWS Marketplace.", "Sign up without it.", status=404
        )
    if not token:
        raise UserError("MarketplaceTokenMissing", "Nothing arrived from AWS Marketplace.", AGAIN, status=422)
    if len(token) > TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise invalid_token()
    if settings.PORTAL_MARKETPLACE == "sandbox":
        from accounts import sandbox

        purchase = sandbox.resolve(token)
    else:
        purchase = _ask_aws(token)
    if purchase.product_code not in product_codes():
        logger.warning("AWS Marketplace sent a buyer of the product %r, which is not ours.", purchase.product_code)
        raise UserError(
            "MarketplaceProductUnknown",
            "This subscription is for a product that this portal does not offer.",
            "Check which product you subscribed to in AWS Marketplace, or ask its seller where to register.",
        )
    return purchase


def product_codes() -> list[str]:
    """What we sell. The sandbox has products of its own where none is set."""
    codes: list[str] = settings.PORTAL_MARKETPLACE_PRODUCT_CODES
    return codes or (["sandbox-product", "sandbox-contract"] if settings.PORTAL_MARKETPLACE == "sandbox" else [])


def is_contract(product_code: str) -> bool:
    """Whether what a customer may use of a product, and until when, is to be asked of AWS."""
    if product_code == "sandbox-contract" and settings.PORTAL_MARKETPLACE == "sandbox":
        return True
    return product_code in settings.PORTAL_MARKETPLACE_CONTRACT_CODES


def invalid_token() -> UserError:
    """The answer to a token that nobody issued."""
    return UserError("MarketplaceTokenInvalid", "AWS Marketplace does not know this registration.", AGAIN, status=400)


def expired_token() -> UserError:
    """The answer to a token that was issued too long ago."""
    return UserError("MarketplaceTokenExpired", "This registration has expired.", AGAIN, status=410)


def _ask_aws(token: str) -> Purchase:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    from botocore.parsers import ResponseParserError

    try:
        answer: dict[str, Any] = client(METERING, settings.PORTAL_MARKETPLACE_REGION).resolve_customer(
            RegistrationToken=token
        )
    except ClientError as error:
        raise _refusal(error.response) from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        logger.error("AWS Marketplace cannot be asked: %s", error)
        raise _refused() from None
    except (BotoCoreError, ResponseParserError, AttributeError, TypeError) as error:
        # No connection, no answer in time, or one that makes no sense; over some of these botocore itself stumbles.
        logger.warning("AWS Marketplace did not answer: %s", type(error).__name__)
        raise _busy() from None
    purchase = Purchase(
        product_code=str(answer.get("ProductCode") or ""),
        account_id=str(answer.get("CustomerAWSAccountId") or ""),
        customer_identifier=str(answer.get("CustomerIdentifier") or ""),
        license_arn=str(answer.get("LicenseArn") or ""),
    )
    if not purchase.customer or not purchase.product_code:
        logger.warning("AWS Marketplace answered without a customer or a product: %s", sorted(answer))
        raise _busy()
    return purchase


@functools.cache
def client(service: str, region: str, seconds: int = 5) -> Any:
    """One for the process, made when first needed: importing boto3 costs memory that most portals never use.

    An answer is waited for ``seconds``, and asked for once more.
    """
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=3, read_timeout=seconds, retries={"mode": "standard", "total_max_attempts": 2})
    return boto3.Session().client(service, region_name=region, config=config)


def _refusal(response: dict[str, Any]) -> UserError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "InvalidTokenException":
        return invalid_token()
    if code == "ExpiredTokenException":
        return expired_token()
    if code in BUSY or status >= 500 or status == 429:
        logger.warning("AWS Marketplace is busy: %s (%d)", code, status)
        return _busy()
    logger.error("AWS Marketplace refuses to resolve customers: %s (%d)", code, status)
    return _refused()


def _busy() -> UserError:
    return UserError(
        "MarketplaceBusy",
        "AWS Marketplace did not answer in time.",
        f"Your registration is still good: reload this page to send it again. Or: {AGAIN}",
        status=503,
    )


def _refused() -> UserError:
    return UserError(
        "MarketplaceRefused",
        "AWS Marketplace does not let this portal look up your subscription.",
        "Tell the people who operate this portal; the reason is in its log. Your subscription is not affected.",
        status=502,
    )
