"""The four things of a cloud configuration, made with access keys that are forgotten afterwards.

The keys live in the ``Session`` that the caller made and nowhere else: the handle holds names only. Whoever lost the
session half-way enters keys again, and what was made is found by its name, which comes from the configuration's uuid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from portal.clouds import plan
from portal.clouds.aws.configuration import Configuration, configuration_of, table_arn
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.node_policy import differences, filled_node_policy
from portal.clouds.aws.permissions import filled_policy, trust_policy
from portal.clouds.aws.session import ROLE_SECONDS, Session, assume
from portal.clouds.base import CloudError, Event, Handle, Pending, Step

POLICY_NAME = "Bodo-Platform-User-Policy"
TAG = "portal:configuration"
LAG_SECONDS = 10.0
"""How long S3, DynamoDB or IAM may not show what they just made. A name can be taken once only in any case."""


@dataclass(frozen=True)
class Onboarding:
    """Makes bucket, table, node policy and role of one configuration. ``id`` is its uuid, ``platform_account`` the
    portal's."""

    session: Session
    account: str
    id: str
    external_id: str
    platform_account: str

    @property
    def configuration(self) -> Configuration:
        """What will be true once everything is made."""
        return configuration_of(self.id, self.account, self.session.region, self.external_id)

    def advance(self, handle: Handle, *, wanted: bool = True) -> Step:
        """One step toward all four, or toward none of them where they are no longer wanted."""
        steps: list[plan.PlanStep] = [BucketStep(self), TableStep(self), NodePolicyStep(self), RoleStep(self)]
        return plan.advance(steps if wanted else [], steps, handle, poll=1.0, lag=LAG_SECONDS)


def begin(session: Session, id: str, external_id: str, platform_account: str) -> Onboarding:
    """Look whose keys they are. Raises AwsError(CredentialsInvalid, NotReachable)."""
    return Onboarding(session, session.account(), id, external_id, platform_account)


@dataclass(frozen=True)
class BucketStep:
    """The bucket: versioned, encrypted, not public."""

    work: Onboarding
    name: str = "bucket"
    label: str = "S3 bucket"
    group: str = "metadata"
    fingerprint: str = ""

    @property
    def _mine(self) -> dict[str, str]:
        """Buckets have one namespace for the whole world: never touch one of another account."""
        return {"Bucket": self.work.configuration.bucket, "ExpectedBucketOwner": self.work.account}

    def find(self) -> str | None:
        """Its name, if it is there."""
        try:
            self.work.session.client("s3").head_bucket(**self._mine)
        except AwsError as error:
            if error.absent:
                return None
            raise
        return self.work.configuration.bucket

    def create(self) -> str:
        """Make it in the region of the session."""
        region, bucket = self.work.session.region, self.work.configuration.bucket
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.work.session.client("s3").create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **place)
        return bucket

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is closed, versioned, encrypted and tagged: each is said again until all were said."""
        s3 = self.work.session.client("s3")
        closed = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        s3.put_public_access_block(**self._mine, PublicAccessBlockConfiguration=closed)
        s3.put_bucket_versioning(**self._mine, VersioningConfiguration={"Status": "Enabled"})
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        s3.put_bucket_encryption(**self._mine, ServerSideEncryptionConfiguration={"Rules": [rule]})
        s3.put_bucket_tagging(**self._mine, Tagging={"TagSet": _tags(self.work)})
        return True

    def delete(self, id: str | None) -> bool:
        """Only an empty one: what is in it belongs to workspaces."""
        if self.find() is None:
            return True
        try:
            self.work.session.client("s3").delete_bucket(**self._mine)
        except AwsError as error:
            if error.reason != "BucketNotEmpty":
                raise
            hint = "Empty it in the AWS console if nothing in it is needed, then try again."
            raise CloudError("BucketNotEmpty", f"{error.message} ({id})", hint, permanent=True) from error
        return self.find() is None


@dataclass(frozen=True)
class TableStep:
    """The table of locks."""

    work: Onboarding
    name: str = "table"
    label: str = "DynamoDB table"
    group: str = "metadata"
    fingerprint: str = ""

    def find(self) -> str | None:
        """Its name, if it is there."""
        return self.work.configuration.table if self._status() else None

    def create(self) -> str:
        """Make it; a lock costs a fraction of a cent, paid by request."""
        self.work.session.client("dynamodb").create_table(
            TableName=self.work.configuration.table,
            AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=_tags(self.work),
        )
        return self.work.configuration.table

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is active."""
        return self._status() == "ACTIVE"

    def delete(self, id: str | None) -> bool:
        """True once it is gone, which takes some seconds."""
        status = self._status()
        if status == "ACTIVE":
            self.work.session.client("dynamodb").delete_table(TableName=self.work.configuration.table)
            status = self._status()
        return not status

    def _status(self) -> str:
        try:
            table = self.work.session.client("dynamodb").describe_table(TableName=self.work.configuration.table)
        except AwsError as error:
            if error.absent:
                return ""
            raise
        return str(table["Table"]["TableStatus"])


@dataclass(frozen=True)
class NodePolicyStep:
    """The policy beyond which no machine gets."""

    work: Onboarding
    name: str = "node-policy"
    label: str = "policy of the machines"
    group: str = "node-policy"
    fingerprint: str = ""

    @property
    def arn(self) -> str:
        """What AWS calls it."""
        return self.work.configuration.node_policy_arn

    def find(self) -> str | None:
        """Its ARN, if it is there."""
        return self.arn if self._version() else None

    def create(self) -> str:
        """Make it."""
        answer = self.work.session.client("iam").create_policy(
            PolicyName=self.work.configuration.node_policy_name,
            PolicyDocument=self._document(),
            Description="What machines of Bodo workspaces may do. Their permissions boundary, too.",
            Tags=_tags(self.work),
        )
        return str(answer["Policy"]["Arn"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it says what it should: one that was found may be of an older portal."""
        iam, version = self.work.session.client("iam"), self._version()
        if not version:
            return False
        found = iam.get_policy_version(PolicyArn=self.arn, VersionId=version)["PolicyVersion"]["Document"]
        if not differences(found, self.work.configuration.bucket):
            return True
        self._forget_versions()
        iam.create_policy_version(PolicyArn=self.arn, PolicyDocument=self._document(), SetAsDefault=True)
        return Event(self.name, "Brought the policy of the machines up to date")

    def delete(self, id: str | None) -> bool:
        """Its older versions first. It stays while machines have it."""
        if self.find() is None:
            return True
        self._forget_versions()
        self.work.session.client("iam").delete_policy(PolicyArn=self.arn)
        return self.find() is None

    def _version(self) -> str:
        try:
            return str(self.work.session.client("iam").get_policy(PolicyArn=self.arn)["Policy"]["DefaultVersionId"])
        except AwsError as error:
            if error.absent:
                return ""
            raise

    def _forget_versions(self) -> None:
        """AWS keeps five at most."""
        iam = self.work.session.client("iam")
        for each in iam.pages("list_policy_versions", "Versions", PolicyArn=self.arn):
            if not each["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=self.arn, VersionId=each["VersionId"])

    def _document(self) -> str:
        document = json.loads(filled_node_policy(self.work.configuration.bucket))
        return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True)
class RoleStep:
    """The role that the portal borrows from then on."""

    work: Onboarding
    name: str = "role"
    label: str = "IAM role"
    group: str = "role"

    @property
    def role_name(self) -> str:
        """Its name."""
        return self.work.configuration.role_arn.rpartition("/")[2]

    @property
    def fingerprint(self) -> str:
        """Another External ID or another portal needs another role."""
        return f"{self.work.platform_account} {self.work.external_id}"

    def find(self) -> str | None:
        """Its ARN, if it is there."""
        try:
            answer = self.work.session.client("iam").get_role(RoleName=self.role_name)
        except AwsError as error:
            if error.absent:
                return None
            raise
        return str(answer["Role"]["Arn"])

    def create(self) -> str:
        """Make it, lent to nobody but this portal with this External ID."""
        answer = self.work.session.client("iam").create_role(
            RoleName=self.role_name,
            AssumeRolePolicyDocument=json.dumps(trust_policy(self.work.platform_account, self.work.external_id)),
            Description="Lets the Bodo Cloud Platform make and remove workspaces and clusters in this account.",
            MaxSessionDuration=ROLE_SECONDS,
            Tags=_tags(self.work),
        )
        return str(answer["Role"]["Arn"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it has its policy and the portal can borrow it. IAM takes some seconds to tell the world."""
        configuration = self.work.configuration
        arn = table_arn(configuration.region, self.work.account, configuration.table)
        text = filled_policy(configuration.bucket, arn, configuration.node_policy_name)
        document = json.dumps(json.loads(text), separators=(",", ":"))
        self.work.session.client("iam").put_role_policy(
            RoleName=self.role_name, PolicyName=POLICY_NAME, PolicyDocument=document
        )
        try:
            assume(configuration.role, configuration.region, self.work.session.endpoint)
        except AwsError as error:
            if error.code == "PermissionDenied":
                return Event(self.name, "Waiting until AWS lends the new role")
            raise
        return True

    def delete(self, id: str | None) -> bool:
        """Its policies first."""
        if self.find() is None:
            return True
        iam = self.work.session.client("iam")
        for policy in iam.list_role_policies(RoleName=self.role_name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=self.role_name, PolicyName=policy)
        iam.delete_role(RoleName=self.role_name)
        return self.find() is None


def _tags(work: Onboarding) -> list[dict[str, Any]]:
    return [{"Key": TAG, "Value": work.id}]
