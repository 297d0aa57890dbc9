"""What lets Auto Scaling give machines disks that are encrypted with the workspace's key.

Machines are launched by a role of AWS's own, which may not use a customer's key unless the key says so (Amazon EC2 Auto
Scaling User Guide, "Required AWS KMS key policy for use with encrypted volumes"). Spot instances need the same for a
second role (Amazon EC2 User Guide, "Grant AWSServiceRoleForEC2Spot access to customer managed keys").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.placement import ClusterWork
from portal.clouds.aws.resources import Resource
from portal.clouds.base import CloudError

ROLES = {
    "autoscaling": "AWSServiceRoleForAutoScaling",
    "spot": "AWSServiceRoleForEC2Spot",
}
OPERATIONS = (
    *("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    *("DescribeKey", "CreateGrant"),
)


class KeyGrant(Resource):
    """One grant on the key, for one service."""

    work: ClusterWork

    def __init__(self, work: ClusterWork, service: str, account: str, key: str) -> None:
        super().__init__(work)
        self.name = self.group = f"{service}-grant"
        self.label = f"use of the encryption key by EC2 {'Spot' if service == 'spot' else 'Auto Scaling'}"
        self.service, self.key, self.fingerprint = f"{service}.amazonaws.com", key, key
        self.grantee = f"arn:aws:iam::{account}:role/aws-service-role/{self.service}/{ROLES[service]}"

    def find(self) -> str | None:
        """By its name."""
        return next((str(each["GrantId"]) for each in self._list() if each.get("Name") == self._title), None)

    def create(self) -> str:
        """Make it. Where the account lacks the role, AWS makes that first, which it does once."""
        try:
            answer = self.work.session.client("kms").create_grant(
                KeyId=self.key, GranteePrincipal=self.grantee, Operations=list(OPERATIONS), Name=self._title
            )
        except AwsError as error:
            if error.reason != "InvalidArnException":
                raise
            self._make_role()
            raise CloudError("RoleNotReady", error.message, "AWS is making the role. It is tried again.") from error
        return str(answer["GrantId"])

    def _make_role(self) -> None:
        try:
            self.work.session.client("iam").create_service_linked_role(AWSServiceName=self.service)
        except AwsError as error:
            if error.reason not in {"InvalidInput", "EntityAlreadyExists"}:  # it is there, and KMS knows it soon
                raise

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As the key lists it."""
        return next((each for each in self._list() if each["GrantId"] == id), None)

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Take it back."""
        self.work.session.client("kms").revoke_grant(KeyId=self.key, GrantId=id)

    @property
    def _title(self) -> str:
        return f"{self.work.title_in_aws}-{self.name}"

    def _list(self) -> list[Mapping[str, Any]]:
        try:
            return list(self.work.session.client("kms").pages("list_grants", "Grants", KeyId=self.key))
        except AwsError as error:
            if error.absent or error.reason == "KMSInvalidStateException":
                return []
            raise
