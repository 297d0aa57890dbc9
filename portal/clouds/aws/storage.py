"""What a workspace keeps: its encryption key, its shared filesystem, and the key with which its machines trust each
other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.grants import TAG
from portal.clouds.aws.resources import AGAIN, STEP_TAG, Resource, Work, vanished
from portal.clouds.base import CloudError, Event, Pending

KEY_DAYS = 7
"""How long AWS keeps a key that is to be deleted; it cannot be less. Such a key costs nothing and can do nothing."""

USER = 1000
"""The user and group whom all files of the shared filesystem belong to."""


class Key(Resource):
    """The key with which filesystem and parameters are encrypted."""

    name, label, group = "key", "encryption key", "key"

    def find(self) -> str | None:
        """By its tags: names of keys are things of their own, made after the key."""
        tags = [{"Key": TAG, "Values": [self.work.id]}, {"Key": STEP_TAG, "Values": [self.name]}]
        found = self.work.session.client("resourcegroupstaggingapi").get_resources(
            TagFilters=tags, ResourceTypeFilters=["kms:key"]
        )
        ids = (str(each["ResourceARN"]).rpartition("/")[2] for each in found["ResourceTagMappingList"])
        return next((id for id in ids if self.look(id)), None)

    def create(self) -> str:
        """Make it."""
        answer = self.work.session.client("kms").create_key(
            Description=f"Bodo workspace {self.work.title}", Tags=self.work.tag_list(self.name, "TagKey", "TagValue")
        )
        return str(answer["KeyMetadata"]["KeyId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it changes every year and has a name that people can read."""
        kms = self.work.session.client("kms")
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        if seen["KeyState"] != "Enabled":
            return False
        if not kms.get_key_rotation_status(KeyId=id)["KeyRotationEnabled"]:
            kms.enable_key_rotation(KeyId=id)
            return AGAIN
        if not kms.list_aliases(KeyId=id)["Aliases"]:
            kms.create_alias(AliasName=f"alias/portal/{self.work.id}", TargetKeyId=id)
            return AGAIN
        return True

    def look(self, id: str) -> Mapping[str, Any] | None:
        """One that is to be deleted is as good as gone."""
        try:
            metadata: dict[str, Any] = self.work.session.client("kms").describe_key(KeyId=id)["KeyMetadata"]
        except AwsError as error:
            if error.absent:
                return None
            raise
        return None if metadata["KeyState"] in {"PendingDeletion", "PendingReplicaDeletion"} else metadata

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Its name at once, itself after a week."""
        kms = self.work.session.client("kms")
        for alias in kms.list_aliases(KeyId=id)["Aliases"]:
            kms.delete_alias(AliasName=alias["AliasName"])
        kms.schedule_key_deletion(KeyId=id, PendingWindowInDays=KEY_DAYS)


class Filesystem(Resource):
    """EFS: grows and shrinks by itself, and is paid by what is in it."""

    name, label, group = "filesystem", "shared filesystem", "gateway-and-filesystem"

    def find(self) -> str | None:
        """By its token."""
        found = self._list(CreationToken=self._token)
        return str(found[0]["FileSystemId"]) if found else None

    def create(self) -> str:
        """Make it, encrypted."""
        answer = self.work.session.client("efs").create_file_system(
            CreationToken=self._token,
            Encrypted=True,
            KmsKeyId=self.work("key"),
            PerformanceMode="generalPurpose",
            ThroughputMode="elastic",
            Tags=self.work.tag_list(self.name),
        )
        return str(answer["FileSystemId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        if seen["LifeCycleState"] == "error":
            hint = "Look whether the account may use its encryption key; delete the workspace and create it again."
            raise CloudError("FilesystemFailed", f"EFS could not make {id}.", hint, permanent=True)
        return bool(seen["LifeCycleState"] == "available")

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As EFS describes it."""
        found = self._list(FileSystemId=id, going=True)
        return found[0] if found else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it, with all files."""
        if seen["LifeCycleState"] not in {"deleting", "deleted"}:
            self.work.session.client("efs").delete_file_system(FileSystemId=id)

    @property
    def _token(self) -> str:
        return f"portal-{self.work.id}"[:64]

    def _list(self, *, going: bool = False, **which: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self.work.session.client("efs").describe_file_systems(**which)["FileSystems"]
        except AwsError as error:
            if error.absent:
                return []
            raise
        gone = {"deleted"} if going else {"deleting", "deleted"}
        return [each for each in found if each["LifeCycleState"] not in gone]


class MountTarget(Resource):
    """The filesystem's address in one subnet."""

    group = "mount-targets"

    def __init__(self, work: Work, suffix: str, subnet: str, groups: list[str]) -> None:
        super().__init__(work)
        self.subnet, self.groups = subnet, groups
        self.name = f"mount-target-{suffix}"
        self.label = f"address of the filesystem in subnet {suffix}"
        self.fingerprint = subnet

    def find(self) -> str | None:
        """There can be one in a subnet."""
        found = [each for each in self._list(FileSystemId=self.work("filesystem")) if each["SubnetId"] == self.subnet]
        alive = [each for each in found if each["LifeCycleState"] != "deleting"]
        return str(alive[0]["MountTargetId"]) if alive else None

    def create(self) -> str:
        """Make it."""
        answer = self.work.session.client("efs").create_mount_target(
            FileSystemId=self.work("filesystem"), SubnetId=self.subnet, SecurityGroups=self.groups
        )
        return str(answer["MountTargetId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available, which takes a minute or two."""
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        return bool(seen["LifeCycleState"] == "available")

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As EFS describes it."""
        found = self._list(MountTargetId=id)
        return found[0] if found else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it, once."""
        if seen["LifeCycleState"] != "deleting":
            self.work.session.client("efs").delete_mount_target(MountTargetId=id)

    def _list(self, **which: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self.work.session.client("efs").describe_mount_targets(**which)[
                "MountTargets"
            ]
        except AwsError as error:
            if error.absent:
                return []
            raise
        return [each for each in found if each["LifeCycleState"] != "deleted"]


class AccessPoint(Resource):
    """What machines mount at /bodofs: a folder of its own, and everybody in it is one user."""

    name, label, group = "access-point", "way into the filesystem", "access-point"

    def find(self) -> str | None:
        """By its tags."""
        found = self._list(FileSystemId=self.work("filesystem"))
        ours = [each for each in found if {"Key": TAG, "Value": self.work.id} in each["Tags"]]
        return next((str(each["AccessPointId"]) for each in ours if each["LifeCycleState"] != "deleting"), None)

    def create(self) -> str:
        """Make it, with the folder."""
        answer = self.work.session.client("efs").create_access_point(
            ClientToken=f"portal-{self.work.id}"[:64],
            FileSystemId=self.work("filesystem"),
            PosixUser={"Uid": USER, "Gid": USER},
            RootDirectory={
                "Path": "/bodofs",
                "CreationInfo": {"OwnerUid": USER, "OwnerGid": USER, "Permissions": "0770"},
            },
            Tags=self.work.tag_list(self.name),
        )
        return str(answer["AccessPointId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is available."""
        seen = self.look(id)
        if seen is None:
            raise vanished(self.label, id)
        return bool(seen["LifeCycleState"] == "available")

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As EFS describes it."""
        found = self._list(AccessPointId=id)
        return found[0] if found else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it; the files go with the filesystem."""
        if seen["LifeCycleState"] != "deleting":
            self.work.session.client("efs").delete_access_point(AccessPointId=id)

    def _list(self, **which: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self.work.session.client("efs").describe_access_points(**which)[
                "AccessPoints"
            ]
        except AwsError as error:
            if error.absent:
                return []
            raise
        return [each for each in found if each["LifeCycleState"] != "deleted"]


class SshKey(Resource):
    """The private key with which machines of the workspace reach each other, encrypted; the public one follows from it
    (``ssh-keygen -y``). It is made here, goes to AWS, and is kept nowhere else."""

    name, label, group = "ssh-key", "key of the machines", "ssh-key"

    @property
    def parameter(self) -> str:
        """Its name."""
        return f"/portal/{self.work.id}/ssh-key"

    def find(self) -> str | None:
        """By its name. Its value stays encrypted."""
        return self.parameter if self.look(self.parameter) else None

    def create(self) -> str:
        """Make a new one."""
        self.work.session.client("ssm").put_parameter(
            Name=self.parameter,
            Description=f"Machines of the Bodo workspace {self.work.title} reach each other with it.",
            Type="SecureString",
            KeyId=self.work("key"),
            Value=_new_private_key(),
            Tags=self.work.tag_list(self.name),
        )
        return self.parameter

    def look(self, id: str) -> Mapping[str, Any] | None:
        """Whether it is there."""
        try:
            found: dict[str, Any] = self.work.session.client("ssm").get_parameter(Name=id, WithDecryption=False)
        except AwsError as error:
            if error.absent:
                return None
            raise
        return {"Name": found["Parameter"]["Name"]}

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it."""
        self.work.session.client("ssm").delete_parameter(Name=id)


def _new_private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
