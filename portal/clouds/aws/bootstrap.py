"""What a machine begins with: its user data, and the software that this fetches from the customer's bucket.

User data can be read by everything that runs on the machine, and by whoever may describe it: there is no secret in it.
The bundle is named by its digest, and so is what fetches it: a machine runs what the portal put there, or nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from portal.clouds.aws import shipped
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.resources import Resource, Work
from portal.clouds.aws.session import Client, Session
from portal.clouds.base import CloudError
from portal.clouds.local.releases import PINNED

NODE = Path(__file__).parent / "node"
SCRIPTS = ("bootstrap.sh", "prepare.sh", "requirements.txt")
"""What lies in /opt/portal/node beside the programs (``shipped``)."""

USER_DATA_LIMIT = 16_384
"""Bytes, before base64 (Amazon EC2 User Guide, "Instance user data")."""


@cache
def bundle(release: str) -> bytes:
    """The software of machines with a release of Bodo, as tar.gz: the same bytes for the same files."""
    pinned = PINNED / f"bodo-{release}.txt"
    if "/" in release or not pinned.exists():
        raise CloudError(
            "ReleaseUnknown", f"There is no Bodo release {release}.", "Choose another one.", permanent=True
        )
    files = {**shipped.files(), **{name: NODE / name for name in SCRIPTS}, pinned.name: pinned}
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def digest_of(release: str) -> str:
    """What the bundle of a release is named by."""
    return hashlib.sha256(bundle(release)).hexdigest()


def place(workspace: str, digest: str) -> str:
    """The key of a bundle in the bucket."""
    return f"{_folder(workspace)}{digest}.tar.gz"


def user_data(bucket: str, bucket_region: str, workspace: str, digest: str, settings: Mapping[str, Any]) -> str:
    """What a machine runs at its first boot. ``settings`` become its node.json."""
    filled = (NODE / "begin.sh").read_text()
    values = {
        "@BUNDLE@": f"s3://{bucket}/{place(workspace, digest)}",
        "@DIGEST@": digest,
        "@BUCKET_REGION@": bucket_region,
        "@SETTINGS@": json.dumps(settings, sort_keys=True),
    }
    for name, value in values.items():
        filled = filled.replace(name, shlex.quote(value))
    if len(filled.encode()) > USER_DATA_LIMIT:
        raise CloudError("UserDataTooLong", "What a machine begins with is too long for AWS.", permanent=True)
    return filled


@dataclass
class _Bucket:
    """The customer's bucket."""

    session: Session
    configuration: Configuration

    @property
    def s3(self) -> Client:
        """A client in the bucket's own region."""
        return self.session.client("s3")

    def which(self, key: str) -> dict[str, str]:
        """An object, of nobody else."""
        return {
            "Bucket": self.configuration.bucket,
            "Key": key,
            "ExpectedBucketOwner": self.configuration.account,
        }


class Software(Resource):
    """The bundle in the bucket. Clusters share it: it goes with the workspace, and costs nothing to speak of."""

    name, label, group = "software", "software of the machines", "software"

    def __init__(self, work: Work, bucket_session: Session, configuration: Configuration, made_of: Mapping[str, Any]):
        super().__init__(work)
        self.bucket = _Bucket(bucket_session, configuration)
        self.release, self.fingerprint = str(made_of.get("release", "")), str(made_of.get("software", ""))

    def find(self) -> str | None:
        """By its digest."""
        key = place(self.work.id, self.fingerprint)
        try:
            self.bucket.s3.head_object(**self.bucket.which(key))
        except AwsError as error:
            if error.absent:
                return None
            raise
        return key

    def create(self) -> str:
        """Put it there."""
        content = bundle(self.release)
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.fingerprint:
            message = "The portal was upgraded while the cluster was being made."
            raise CloudError("SoftwareChanged", message, "Start the cluster again.", permanent=True)
        key = place(self.work.id, digest)
        self.bucket.s3.put_object(**self.bucket.which(key), Body=content)
        return key

    def delete(self, id: str | None) -> bool:
        """Others may use it."""
        return True


def remove_software(bucket_session: Session, configuration: Configuration, workspace: str) -> None:
    """Remove the bundles of a workspace from the bucket. Nothing happens where the bucket is gone."""
    bucket = _Bucket(bucket_session, configuration)
    which = {"Bucket": configuration.bucket, "ExpectedBucketOwner": configuration.account}
    try:
        for each in bucket.s3.list_objects_v2(**which, Prefix=_folder(workspace)).get("Contents", []):
            bucket.s3.delete_object(**bucket.which(str(each["Key"])))
    except AwsError as error:
        if not error.absent:
            raise


def _folder(workspace: str) -> str:
    return f"workspaces/{workspace}/node/"
