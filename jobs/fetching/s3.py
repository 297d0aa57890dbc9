"""A file, or all that lies below a prefix, in an S3 bucket; with the run's own credentials, or none."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jobs.fetching import digests
from jobs.fetching.order import FetchError, Order, Outcome

MOST_OBJECTS = 5000
_NO_PERMISSION = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


def fetch(order: Order) -> Outcome:
    """Download. Raises FetchError."""
    address = urlsplit(order.location)
    bucket, prefix = address.netloc, address.path.lstrip("/")
    target = Path(order.directory)
    target.mkdir(parents=True)
    try:
        taken = 0
        client = _client(order)
        base = prefix if not prefix or prefix.endswith("/") else prefix.rpartition("/")[0] + "/"
        base = base.lstrip("/")
        objects = _objects(client, bucket, prefix)
        if not objects:
            raise FetchError(f"There is nothing at {order.location}.", "Check the bucket's region and the path.")
        for key, size in objects:
            taken += size
            if taken > order.limit:
                raise FetchError(f"It is larger than {order.limit >> 20} MB.", "Give a narrower path.")
            path = _inside(target, key.removeprefix(base))
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(path))
    except ClientError as error:
        raise _explained(error) from None
    except BotoCoreError as error:
        raise FetchError(f"S3 cannot be reached: {error}", permanent=False) from None
    single = len(objects) == 1 and objects[0][0] == prefix
    file = PurePosixPath(prefix).name if single and not order.file else order.file
    if not file or not (target / file).is_file():
        raise FetchError(f"{file or 'The file'} is not at {order.location}.", "Give the file's path below it.")
    return Outcome(file, "", digests.of_file(target / file) if single else digests.of_tree(target))


def _client(order: Order) -> Any:
    """Never with credentials of the portal's own machine: only the run's, or none."""
    given = order.credentials
    options: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 3}}
    if not given.get("AWS_ACCESS_KEY_ID"):
        options["signature_version"] = UNSIGNED
    return boto3.client(
        "s3",
        region_name=order.reference or "us-east-1",
        aws_access_key_id=given.get("AWS_ACCESS_KEY_ID") or "none",
        aws_secret_access_key=given.get("AWS_SECRET_ACCESS_KEY") or "none",
        aws_session_token=given.get("AWS_SESSION_TOKEN") or None,
        endpoint_url=given.get("endpoint") or None,
        config=Config(**options),
    )


def _objects(client: Any, bucket: str, prefix: str) -> list[tuple[str, int]]:
    """The one object of that name, or those below it as a folder."""
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    found: list[tuple[str, int]] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if entry["Key"] == prefix and not prefix.endswith("/"):
                return [(prefix, entry["Size"])]
            if entry["Key"].startswith(folder) and not entry["Key"].endswith("/"):
                found.append((entry["Key"], entry["Size"]))
        if len(found) > MOST_OBJECTS:
            raise FetchError(f"There are more than {MOST_OBJECTS} files.", "Give a narrower path.")
    return found


def _inside(target: Path, key: str) -> Path:
    """Where an object goes; a key with ``..`` would lead out."""
    parts = PurePosixPath(key).parts
    if not parts or ".." in parts or key.startswith("/") or "\0" in key:
        raise FetchError(f"The key {key!r} cannot be a file's path.", "Rename the object.")
    return target.joinpath(*parts)


def _explained(error: ClientError) -> FetchError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _NO_PERMISSION:
        hint = "Give the run AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that may read it."
        return FetchError(f"S3 refused to give it ({code}).", hint)
    if code in {"NoSuchBucket", "NoSuchKey", "404"}:
        return FetchError("There is no such bucket or object.", "Check the path and the region.")
    return FetchError(f"S3 answered {code}: {error}", permanent=code in {"PermanentRedirect", "InvalidBucketName"})
