"""Where the customer's CloudFormation stack stands, told by what it leaves: nothing is needed for it but the role.

The names of all that the stack makes follow from the configuration, so the portal knows what to look for before there
is anything. One look costs one call until the role is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from portal.clouds.aws import checks
from portal.clouds.aws.configuration import Configuration, configuration_of
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session, assume
from portal.clouds.base import Check, CloudError


class Stage(StrEnum):
    """How far it is. WRONG: everything is there, and VALIDATE does not pass."""

    WAITING = "WAITING"
    MAKING = "MAKING"
    WRONG = "WRONG"
    COMPLETE = "COMPLETE"


@dataclass(frozen=True)
class Followed:
    """What was seen, in a sentence for people, and what the configuration is once it is COMPLETE. ``checks`` are those
    of VALIDATE, from when everything is there."""

    stage: Stage
    configuration: Configuration
    detail: str
    checks: Sequence[Check] = ()


def follow(id: str, account: str, region: str, external_id: str, endpoint: str = "") -> Followed:
    """Look once for the stack of the configuration ``id`` in a customer's account (twelve digits). Raises
    CloudError(InvalidAccount), and AwsError where AWS does not answer or the portal has no identity."""
    if not re.fullmatch(r"[0-9]{12}", account):
        hint = "Copy it from the top right of the AWS console: twelve digits, without dashes."
        raise CloudError("InvalidAccount", f"{account!r} is not the number of an AWS account.", hint, permanent=True)
    configuration = configuration_of(id, account, region, external_id)
    try:
        assume(configuration.role, region, endpoint)
    except AwsError as error:
        if error.code != "PermissionDenied":
            raise
        return Followed(Stage.WAITING, configuration, f"Waiting for the stack in account {account} to make the role.")
    missing = _missing(Session(region, role=configuration.role, endpoint=endpoint), configuration)
    if missing:
        return Followed(Stage.MAKING, configuration, f"The role is there. Still missing: {', '.join(missing)}.")
    found = checks.check(configuration, endpoint)
    failed = [check.name for check in found if not check.passed]
    if failed:
        return Followed(
            Stage.WRONG, configuration, f"All is there, but not as it should be: {', '.join(failed)}.", found
        )
    return Followed(Stage.COMPLETE, configuration, "The stack made everything, and all checks passed.", found)


def _missing(session: Session, configuration: Configuration) -> list[str]:
    """What the stack has still to make. A role that may not look lacks its policy, which comes right after it."""
    looks: dict[str, Callable[[], object]] = {
        "bucket": lambda: session.client("s3").head_bucket(
            Bucket=configuration.bucket, ExpectedBucketOwner=configuration.account
        ),
        "table": lambda: session.client("dynamodb").describe_table(TableName=configuration.table),
        "policy of the machines": lambda: session.client("iam").get_policy(PolicyArn=configuration.node_policy_arn),
    }
    missing = []
    for name, look in looks.items():
        try:
            look()
        except AwsError as error:
            if not error.absent and error.code != "PermissionDenied":
                raise
            missing.append(name)
    return missing
