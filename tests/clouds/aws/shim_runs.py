"""S3 as the machines of a cluster have it, whose role may get and put below ``runs/``, and neither list nor delete:
where there is nothing, S3 says to them that access is denied."""

from __future__ import annotations

from typing import Any

from tests.clouds.aws.cloud import CORRECTIONS, Aws, Reply

DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
MACHINES: set[str] = set()
"""The access keys of machines."""

SENT: list[str] = []
"""What Systems Manager was given, word for word."""

DELETED: list[tuple[str, str]] = []
"""What was deleted from buckets: keys, and which version."""


def correct(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """Refuse what a machine may not do."""
    if operation == "SendCommand":
        SENT.append(parameters["body"][0])
    signed = environ.get("HTTP_AUTHORIZATION", "")
    if not operation and environ["REQUEST_METHOD"] == "DELETE":
        DELETED.append((environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
    if operation or not any(f"Credential={key}/" in signed for key in MACHINES):
        return None
    bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    method = environ["REQUEST_METHOD"]
    if method not in {"GET", "HEAD", "PUT", "POST"} or "/runs/" not in key:
        return DENIED, "application/xml", 403
    if method in {"GET", "HEAD"} and not _there(bucket, key):
        return "" if method == "HEAD" else DENIED, "application/xml", 403
    return None


def _there(bucket: str, key: str) -> bool:
    from moto.s3.models import s3_backends

    _, account = s3_backends.bucket_accounts[bucket]
    return s3_backends[account]["aws"].get_object(bucket, key) is not None


CORRECTIONS.insert(0, correct)  # before whatever answers, whichever file was read first
