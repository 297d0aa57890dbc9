"""A run's mailbox in the customer's bucket, as the portal has it. What is in it: ``portal.clouds.aws.node.mailbox``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.node.mailbox import begin_key, folder
from portal.clouds.aws.session import Client, Session

LINK_SECONDS = 300


@dataclass(frozen=True)
class Mailbox:
    """The mailbox of one run. ``session`` is that of the bucket's region."""

    session: Session
    configuration: Configuration
    workspace: str
    run: str

    @property
    def folder(self) -> str:
        """Where its objects are; ends with a slash."""
        return folder(self.workspace, self.run)

    @property
    def s3(self) -> Client:
        """The client."""
        return self.session.client("s3")

    @property
    def bucket(self) -> dict[str, Any]:
        """In every call: names of buckets are the world's."""
        return {"Bucket": self.configuration.bucket, "ExpectedBucketOwner": self.configuration.account}

    def at(self, name: str) -> dict[str, Any]:
        """An object, for a call."""
        return {**self.bucket, "Key": self.folder + name}

    def get(self, name: str, **more: Any) -> Mapping[str, Any] | None:
        """An object; None where there is none."""
        return self._unless_absent("get_object", **self.at(name), **more)

    def head(self, name: str) -> Mapping[str, Any] | None:
        """What is known about an object; None where there is none."""
        return self._unless_absent("head_object", **self.at(name))

    def read(self, name: str) -> Any:
        """An object of JSON; None where there is none."""
        found = self.get(name)
        return None if found is None else json.loads(found["Body"].read())

    def put(self, name: str, content: Any) -> None:
        """Write an object of JSON."""
        self.s3.put_object(**self.at(name), Body=json.dumps(content).encode(), ContentType="application/json")

    def put_file(self, name: str, file: BinaryIO) -> None:
        """Write a file of at most 5 GB."""
        self.s3.put_object(**self.at(name), Body=file)

    def say_first(self, name: str, content: Any) -> bool:
        """Write an object of JSON unless there is one; whether there was none. A lost answer raises: what was said is
        read when it is tried again."""
        try:
            self.s3.put_object(
                **self.at(name),
                Body=json.dumps(content).encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except AwsError as error:
            if error.code == "Conflict":
                return False
            raise
        return True

    def decision(self, number: int) -> Any:
        """Who decided over a try, and why; None before."""
        return self.read(begin_key(number))

    def withdraw(self, number: int, reason: str) -> bool:
        """Decide that a try never begins. False where the machine was first."""
        said = {"by": "portal", "reason": reason, "at": datetime.now(UTC).timestamp()}
        while not self.say_first(begin_key(number), said):
            decision = self.decision(number)
            if decision:  # else S3 had two writers at once, and wants to be asked again
                if decision["by"] == "machine":
                    return False
                break
        self.forget_environment()
        return True

    def link(self, name: str, saved_as: str) -> str:
        """An address at which whoever has it gets an object for five minutes, as a file to save. AWS is not asked, and
        the bucket's owner cannot be part of it: a browser sends no such header."""
        what = {
            "Bucket": self.configuration.bucket,
            "Key": self.folder + name,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(saved_as, safe='')}",
            "ResponseContentType": "application/octet-stream",
        }
        address: str = self.s3.inner.generate_presigned_url("get_object", Params=what, ExpiresIn=LINK_SECONDS)
        return address

    def forget_environment(self) -> None:
        """Remove the run's variables for good: the bucket keeps every other version of what is removed."""
        found = self.head("environment.json")
        if found is not None:
            version = {"VersionId": found["VersionId"]} if found.get("VersionId") else {}
            self._unless_absent("delete_object", **self.at("environment.json"), **version)

    def _unless_absent(self, call: str, **arguments: Any) -> Mapping[str, Any] | None:
        try:
            answer: Mapping[str, Any] = getattr(self.s3, call)(**arguments)
        except AwsError as error:
            if error.absent:
                return None
            raise
        return answer


def age(answer: Mapping[str, Any]) -> float:
    """Seconds since an object was written, both times being S3's."""
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    written: datetime = answer["LastModified"]
    return (now - written).total_seconds()
