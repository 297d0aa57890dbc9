"""What is known about a customer's account. Nothing in it is a secret: keys are never part of it."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from portal.clouds.aws.session import Role
from portal.clouds.base import CloudError

REGIONS = ("us-east-1", "us-east-2", "us-west-1", "us-west-2")
"""Where metadata can lie and workspaces can be."""

_ROLE = re.compile(r"arn:aws:iam::\d{12}:role/(?:[\x21-\x7e]+/)?[\w+=,.@-]{1,64}")
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")


@dataclass(frozen=True)
class Configuration:
    """How the portal reaches an account, and where in it the state of deployments lies."""

    role_arn: str
    external_id: str
    region: str
    bucket: str
    table: str

    @property
    def role(self) -> Role:
        """The role that the portal works in."""
        return Role(self.role_arn, self.external_id)

    @property
    def account(self) -> str:
        """The twelve digits of the customer's account."""
        return self.role.account

    @property
    def table_arn(self) -> str:
        """What the policy calls the table."""
        return table_arn(self.region, self.account, self.table)

    @property
    def node_policy_name(self) -> str:
        """The policy that says what machines may do (``node_policy``)."""
        return node_policy_name(self.external_id)

    @property
    def node_policy_arn(self) -> str:
        """What AWS calls that policy."""
        return f"arn:aws:iam::{self.account}:policy/{self.node_policy_name}"


def configuration_of(id: str, account: str, region: str, external_id: str) -> Configuration:
    """What will be true once the portal, or the stack that it offers, made everything for the configuration ``id``."""
    name = resource_name(id)
    return Configuration(f"arn:aws:iam::{account}:role/{name}", external_id, region, name, name)


def resource_name(id: str) -> str:
    """How bucket, table, role and stack are called that are made for the configuration ``id``."""
    return f"bodo-platform-{id.replace('-', '')}"


def node_policy_name(external_id: str) -> str:
    """Follows from the External ID, so that nobody has to enter it, and does not tell it."""
    return f"bodo-platform-nodes-{hashlib.sha256(external_id.encode()).hexdigest()[:20]}"


def table_arn(region: str, account: str, table: str) -> str:
    """What AWS calls a table."""
    return f"arn:aws:dynamodb:{region}:{account}:table/{table}"


def new_external_id() -> str:
    """160 random bits. Ours, never the customer's choice, and one for each configuration: whoever learns the ARN of
    another's role cannot make the portal work in it (the confused deputy)."""
    return secrets.token_hex(20)


def refuse_misspelt(configuration: Configuration) -> None:
    """Raise CloudError(InvalidRoleArn, InvalidBucketName, InvalidTableName, InvalidRegion) for what cannot be right."""
    if configuration.region not in REGIONS:
        hint = f"Choose one of {', '.join(REGIONS)}."
        raise CloudError("InvalidRegion", f"{configuration.region} is not supported.", hint, permanent=True)
    if not _ROLE.fullmatch(configuration.role_arn):
        hint = "Copy it from the summary of the role: arn:aws:iam::123456789012:role/BodoPlatformUser."
        raise CloudError("InvalidRoleArn", f"{configuration.role_arn} is not a role's ARN.", hint, permanent=True)
    if not _BUCKET.fullmatch(configuration.bucket):
        hint = "Enter its bare name, without s3:// and without a path."
        raise CloudError("InvalidBucketName", f"{configuration.bucket} cannot name a bucket.", hint, permanent=True)
    if not _TABLE.fullmatch(configuration.table):
        hint = "Enter its bare name, not its ARN."
        raise CloudError("InvalidTableName", f"{configuration.table} cannot name a table.", hint, permanent=True)
