"""What the pages of cloud configurations say beyond the rows themselves. Reads only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings

from portal.clouds.aws import node_policy, permissions
from portal.clouds.aws.configuration import node_policy_name, table_arn
from portal.clouds.aws.grants import BUCKET, TABLE
from portal.clouds.aws.template import quick_create_link
from portal.clouds.base import CloudError
from workspaces.clouds import platform_account
from workspaces.models import CloudConfiguration, Provider, Way

_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ROLE = re.compile(r"arn:aws:iam::([0-9]{12}):role/.+")


def ways() -> list[tuple[str, str]]:
    """How a configuration on AWS can be set up, as the operator's settings allow."""
    offered = [Way.KEYS, Way.MANUAL, *([Way.STACK] if settings.PORTAL_AWS_TEMPLATE_URL else [])]
    return [(way.value, str(way.label)) for way in offered]


@dataclass(frozen=True)
class Platform:
    """The portal's own account, and why nobody knows it otherwise."""

    account: str = ""
    error: CloudError | None = None


def platform() -> Platform:
    """What customers lend their role to."""
    try:
        return Platform(platform_account())
    except CloudError as error:
        return Platform(error=error)


@dataclass(frozen=True)
class Policy:
    """A policy to paste. ``kind`` is ``machines`` or ``role``; ``name`` is what it has to be called, if that matters;
    ``query`` is what it was filled with."""

    kind: str
    title: str
    name: str
    text: str
    query: str

    @property
    def file(self) -> str:
        """What it is called as a file."""
        return f"bodo-platform-{self.kind}.json"


def known_of(row: CloudConfiguration) -> dict[str, str]:
    """What is known of an account on AWS, by the names of the form's fields; empty where it is not."""
    return {name: str(row.settings.get(name, "")) for name in ("region", "bucket", "table", "role_arn")}


def policies(row: CloudConfiguration, known: Mapping[str, str]) -> list[Policy]:
    """The policy of the machines and that of the role, with what is known in the place of their placeholders. The
    table's ARN needs the account, which stands in the role's."""
    role = _ROLE.fullmatch(known["role_arn"])
    bucket = known["bucket"] if _NAME.fullmatch(known["bucket"]) else BUCKET
    legal = role and _NAME.fullmatch(known["table"]) and _NAME.fullmatch(known["region"])
    arn = table_arn(known["region"], role[1], known["table"]) if role and legal else TABLE
    name = node_policy_name(row.external_id or "")
    query = urlencode({key: value for key, value in known.items() if value})
    return [
        Policy("machines", "Policy of the machines", name, node_policy.filled_node_policy(bucket), query),
        Policy("role", "Policy of the role", "", permissions.filled_policy(bucket, arn, name), query),
    ]


def trust_policy(account: str, external_id: str) -> str:
    """Who may borrow the role, as JSON to paste."""
    return json.dumps(permissions.trust_policy(account, external_id), indent=2)


def stack_link(row: CloudConfiguration, account: str) -> str:
    """The page of the AWS console on which one click makes the stack; empty where it cannot be offered."""
    if not (settings.PORTAL_AWS_TEMPLATE_URL and account):
        return ""
    return quick_create_link(
        settings.PORTAL_AWS_TEMPLATE_URL,
        region=row.settings["region"],
        name=row.resource_name,
        platform_account=account,
        external_id=row.external_id or "",
    )


def what_stays(row: CloudConfiguration) -> list[str]:
    """What a deleted configuration leaves in the account, and how it is removed there. The portal cannot: it has no
    keys of the customer, and the role may not remove itself."""
    if row.provider != Provider.AWS:
        return [f"The directory {row.location} with everything in it"] if row.location else []
    if not row.settings.get("role_arn"):
        return []
    role = row.settings["role_arn"].rpartition("/")[2]
    lines = [
        f"The S3 bucket {row.settings['bucket']}: empty it in the S3 console, then delete it there",
        f"The DynamoDB table {row.settings['table']}: delete it in the DynamoDB console",
    ]
    machines = node_policy_name(row.external_id or "")
    if row.way == Way.STACK:
        stack = f"The stack {row.resource_name} with the role and the policy {machines}"
        return [f"{stack}: delete it in the CloudFormation console", *lines]
    lines += [f"The IAM role {role}: delete it in the IAM console, which ends the portal's access"]
    return [*lines, f"The IAM policy {machines}: delete it in the IAM console"]
