"""Lists the databases of an AWS Glue catalog, and looks into the place in S3 where its tables lie."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from portal.clouds.base import Check
from workspaces.probes.findings import Findings, Question, refusal_of_host

SHOWN = 10
NO_KEY = {
    *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure", "InvalidToken"),
    *("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "ExpiredTokenException"),
}
DENIED = {"AccessDeniedException", "AccessDenied"}


def probe(question: Question) -> list[Check]:
    """The checks, up to the first that makes the others pointless. Never with keys of the portal's own machine."""
    found, settings = Findings(), question.settings
    if not question.secret:
        hint = "Enter one. Without it, jobs use what they get from secrets or from the role of their instances."
        found.failed("Access key", "No access key is stored, so nothing was asked of AWS.", hint)
        return found.checks
    glue = _client("glue", question)
    if refusal := _refusal(glue, question):
        found.failed("Region", refusal, "Check the region.")
        return found.checks
    warehouse = settings["warehouse"]
    account = {} if warehouse.startswith("s3://") else {"CatalogId": warehouse}
    try:
        answer = glue.get_databases(MaxResults=100, **account)
    except ClientError as error:
        _refused(found, error, "Databases", "glue:GetDatabases")
        return found.checks
    except BotoCoreError as error:
        found.failed("Region", f"AWS did not answer: {error}", "Check the region; try again.")
        return found.checks
    found.passed("Access key", "AWS accepts it.")
    names = [str(database["Name"]) for database in answer["DatabaseList"]]
    more = "" if len(names) <= SHOWN and "NextToken" not in answer else ", …"
    found.passed("Databases", f"{', '.join(names[:SHOWN])}{more}" if names else "The catalog has no databases yet.")
    if warehouse.startswith("s3://"):
        _look_into(found, question, warehouse)
    return found.checks


def _look_into(found: Findings, question: Question, warehouse: str) -> None:
    place = urlsplit(warehouse)
    s3 = _client("s3", question)
    if refusal := _refusal(s3, question):
        found.failed("Warehouse", refusal, "Check the region.")
        return
    try:
        answer = s3.list_objects_v2(Bucket=place.netloc, Prefix=place.path.lstrip("/"), MaxKeys=1)
    except ClientError as error:
        code = _code(error)
        if code in {"NoSuchBucket", "404"}:
            found.failed("Warehouse", f"There is no bucket {place.netloc}.", "Check the path.")
        elif code in {"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}:
            found.failed("Warehouse", f"The bucket {place.netloc} is in another region.", "Check the region.")
        else:
            _refused(found, error, "Warehouse", f"s3:ListBucket on {place.netloc}")
        return
    except BotoCoreError as error:
        found.failed("Warehouse", f"S3 did not answer: {error}", "Try again.")
        return
    empty = " It is empty so far." if not answer.get("KeyCount") else ""
    found.passed("Warehouse", f"{warehouse} can be listed.{empty}")


def _client(service: str, question: Question) -> Any:
    limit = max(1.0, question.seconds * 0.25)
    return boto3.Session().client(
        service,
        region_name=question.settings["region"],
        aws_access_key_id=question.secret["access_key_id"],
        aws_secret_access_key=question.secret["secret_access_key"],
        endpoint_url=question.endpoint or None,
        config=Config(connect_timeout=limit, read_timeout=limit, retries={"total_max_attempts": 1}),
    )


def _refusal(client: Any, question: Question) -> str:
    address = urlsplit(client.meta.endpoint_url)
    return refusal_of_host(address.hostname or "", address.port or 443, question)


def _refused(found: Findings, error: ClientError, name: str, permission: str) -> None:
    code, said = _code(error), str(error.response.get("Error", {}).get("Message", error))
    if code in NO_KEY:
        found.failed("Access key", f"AWS does not know it ({code}): {said}", "Check both parts; was it deactivated?")
    elif code in DENIED:
        found.failed(name, f"AWS denied it: {said}", f"Give the key's user or role the permission {permission}.")
    else:
        found.failed(name, f"AWS answered {code}: {said}", "Check the region and the warehouse.")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
