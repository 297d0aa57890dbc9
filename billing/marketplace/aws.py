"""One call of BatchMeterUsage: what is sent, and what each answer means for each record.

AWS takes identical requests again and again and counts them once: by customer or licence, dimension and hour. It
refuses another quantity for the same (DuplicateRecord). So whatever was sent and not answered can be sent again, as it
was. Source: BatchMeterUsage and UsageRecordResult in AWS's API reference ("Identical requests are idempotent"). Never
run against AWS itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from accounts.marketplace import BUSY, METERING, client
from billing.marketplace.periods import floor_hour
from billing.models import MeterRecord, MeterState

logger = logging.getLogger(__name__)

WHOLE_CALL = frozenset(
    {
        *("AccessDeniedException", "DisabledApiException", "ExpiredTokenException", "IncompleteSignature"),
        *("InvalidClientTokenId", "InvalidProductCodeException", "InvalidSignatureException"),
        *("MissingAuthenticationToken", "OptInRequired", "UnrecognizedClientException"),
    }
)
"""Refusals that are not about one of the records. Over all others, the records are sent in halves, to find which."""

STATES = {
    "Success": MeterState.ACCEPTED,
    "CustomerNotSubscribed": MeterState.REFUSED,
    "DuplicateRecord": MeterState.DUPLICATE,
}


@dataclass(frozen=True)
class Answer:
    """What became of a record. PENDING: it is to be sent again, over ``error``. ``wrong``: for a reason that does not
    go away by itself."""

    state: MeterState
    metering_record_id: str = ""
    error: str = ""
    wrong: bool = False


class _BusyError(Exception):
    """AWS did not take the call; the text says why."""


def report(records: Sequence[MeterRecord]) -> dict[int, Answer]:
    """Send at most 25 records of one product, all with a licence or all without. Returns an answer for each, by its
    key."""
    try:
        return _report(records)
    except _BusyError as error:  # whatever halves were answered before it is sent again and answered again
        return {record.pk: Answer(MeterState.PENDING, error=str(error)) for record in records}


def usage_record(record: MeterRecord) -> dict[str, Any]:
    """A record as AWS takes it: the same each time."""
    sent: dict[str, Any] = {
        "Timestamp": record.timestamp,
        "Dimension": record.dimension,
        "QuantityAsDecimal": str(record.quantity),
    }
    named = {
        "CustomerAWSAccountId": record.account_id,
        "CustomerIdentifier": record.customer_identifier,
        "LicenseArn": record.license_arn,
    }
    return sent | {name: value for name, value in named.items() if value}


def _report(records: Sequence[MeterRecord]) -> dict[int, Answer]:
    refusal = ""
    try:
        return _understood(records, _call(records))
    except _RefusedError as error:
        refusal = str(error)
        if len(records) == 1 or error.whole:
            return {record.pk: Answer(MeterState.PENDING, error=refusal, wrong=True) for record in records}
    half = len(records) // 2
    return _report(records[:half]) | _report(records[half:])


class _RefusedError(Exception):
    """AWS, or botocore before it, refused the call for what is in it; ``whole``: for no single record's sake."""

    def __init__(self, text: str, *, whole: bool) -> None:
        super().__init__(text)
        self.whole = whole


def _call(records: Sequence[MeterRecord]) -> Mapping[str, Any]:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from botocore.parsers import ResponseParserError

    # A licence stands for its product: with both, AWS would count the hour twice.
    product = {} if records[0].license_arn else {"ProductCode": records[0].product_code}
    sent = [usage_record(record) for record in records]
    try:
        answer = client(METERING, settings.PORTAL_MARKETPLACE_REGION, 10).batch_meter_usage(
            UsageRecords=sent, **product
        )
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in BUSY or status >= 500 or status == 429:
            raise _BusyError(f"AWS is busy: {code} ({status})") from None
        raise _RefusedError(str(error), whole=code in WHOLE_CALL or not code) from None
    except ParamValidationError as error:
        raise _RefusedError(str(error), whole=False) from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise _RefusedError(f"AWS cannot be asked: {error}", whole=True) from None
    except (BotoCoreError, ResponseParserError, AttributeError, TypeError, ValueError) as error:
        # No connection, no answer in time, or one that makes no sense; over some of these botocore itself stumbles.
        raise _BusyError(f"AWS did not answer: {type(error).__name__}") from None
    if not isinstance(answer, Mapping):
        raise _BusyError("AWS answered nonsense")
    return answer


def _understood(records: Sequence[MeterRecord], answer: Mapping[str, Any]) -> dict[int, Answer]:
    found = {record.pk: Answer(MeterState.PENDING, error="AWS did not process it") for record in records}
    for result in answer.get("Results") or []:
        record = _record_of(records, result.get("UsageRecord") or {})
        state = STATES.get(str(result.get("Status")))
        if record is None:
            logger.error("AWS Marketplace answered for a record that was not sent: %s", result)
        elif state is None:
            found[record.pk] = Answer(
                MeterState.PENDING, error=f"AWS answered {result.get('Status')!r}, which is unknown", wrong=True
            )
        elif found[record.pk].state != MeterState.ACCEPTED:  # once accepted, it is
            found[record.pk] = Answer(state, str(result.get("MeteringRecordId") or ""))
    return found


def _record_of(records: Sequence[MeterRecord], echo: Mapping[str, Any]) -> MeterRecord | None:
    """The one that an answer is about: AWS repeats what was sent. What it leaves out does not count, and of the time
    only the hour does."""
    names = ("Dimension", "CustomerAWSAccountId", "CustomerIdentifier", "LicenseArn")
    at = echo.get("Timestamp")
    fitting = []
    for record in records:
        sent = usage_record(record)
        same = all(echo[name] == sent.get(name) for name in names if echo.get(name))
        if same and (not isinstance(at, datetime) or floor_hour(at.astimezone(UTC)) == record.hour):
            fitting.append(record)
    return fitting[0] if len(fitting) == 1 else None
