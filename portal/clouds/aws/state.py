"""What a customer finds in their bucket and table: the state of each deployment, and who is working on it.

The portal's database is the truth; this is the copy with which a person, or another portal, can tell what stands in the
account and why. Two portals must not work on one deployment: who holds its lock gets a *fence*, a number that grows
with every taking, and a document that was written under a higher fence is never overwritten.

    s3://BUCKET/workspaces/<uuid>/state.json
    TABLE: {"LockID": "workspaces/<uuid>", "Holder": "https://portal…", "Until": "2026-…Z", "Fence": 7, "About": "…"}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError, Handle

LOCK_SECONDS = 120
"""Longer than one call of the engine, and short enough that nobody waits long for a portal that is gone."""

RETAKE = timedelta(seconds=LOCK_SECONDS / 2)
"""A lock that is held for less is taken again first."""

_FORMAT = 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""In UTC, so that texts compare as times do."""

_NAMES = {"#holder": "Holder", "#until": "Until"}


@dataclass(frozen=True)
class Lock:
    """A lock that is held. ``fence`` orders everybody who ever held it."""

    id: str
    fence: int
    until: datetime

    def remembered(self) -> dict[str, Any]:
        """As JSON, for a handle."""
        return {"fence": self.fence, "until": self.until.strftime(_TIME)}

    @classmethod
    def recalled(cls, id: str, value: dict[str, Any] | None) -> Lock | None:
        """The lock that was remembered, where it is held for a good while yet."""
        if not value:
            return None
        until = datetime.strptime(value["until"], _TIME).replace(tzinfo=UTC)
        return cls(id, value["fence"], until) if until - datetime.now(UTC) > RETAKE else None


@dataclass(frozen=True)
class Store:
    """Bucket and table of one configuration, in the hands of one portal. ``holder`` is what people know it by."""

    session: Session
    configuration: Configuration
    holder: str

    def take(self, id: str, about: str, now: datetime | None = None) -> Lock:
        """Take the lock, or keep it if this portal holds it. Raises CloudError(StateLocked) while another one does."""
        now = now or datetime.now(UTC)
        until = now + timedelta(seconds=LOCK_SECONDS)
        try:
            answer = self.session.client("dynamodb").update_item(
                **self._item(id),
                UpdateExpression="SET #holder = :me, #until = :until, About = :about ADD Fence :one",
                ConditionExpression="attribute_not_exists(#holder) OR #holder = :me OR #until < :now",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={
                    ":me": {"S": self.holder},
                    ":until": {"S": until.strftime(_TIME)},
                    ":now": {"S": now.strftime(_TIME)},
                    ":about": {"S": about},
                    ":one": {"N": "1"},
                },
                ReturnValues="ALL_NEW",
            )
        except AwsError as error:
            if error.code == "Conflict":
                raise self._locked(id) from error
            raise
        return Lock(id, int(answer["Attributes"]["Fence"]["N"]), until)

    def release(self, lock: Lock) -> None:
        """Give it back. Its fence stays, so that the next one's is higher. Nothing happens where it was lost."""
        try:
            self.session.client("dynamodb").update_item(
                **self._item(lock.id),
                UpdateExpression="REMOVE #holder, #until",
                ConditionExpression="#holder = :me AND Fence = :fence",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={":me": {"S": self.holder}, ":fence": {"N": str(lock.fence)}},
            )
        except AwsError as error:
            if error.code != "Conflict" and not error.absent:
                raise

    def save(self, lock: Lock, kind: str, name: str, handle: Handle) -> None:
        """Write the state. Raises CloudError(StateTaken) where somebody with a higher fence wrote it meanwhile."""
        now = datetime.now(UTC).strftime(_TIME)
        steps = sorted(handle.get("steps", {}).items(), key=lambda item: int(item[1]["order"]))
        document = {
            "format": _FORMAT,
            "kind": kind,
            "name": name,
            "written_by": self.holder,
            "written_at": now,
            "fence": lock.fence,
            "steps": dict(steps),
        }
        for _ in range(3):
            found, condition = self._current(lock.id)
            if found and found["fence"] > lock.fence:
                message = f"{found['written_by']} wrote the state of {name} at {found['written_at']}."
                hint = "Another portal works on it. Let only one of them use this cloud configuration."
                raise CloudError("StateTaken", message, hint, permanent=True)
            try:
                self.session.client("s3").put_object(
                    **self._object(lock.id),
                    **condition,
                    Body=json.dumps(document, indent=2).encode(),
                    ContentType="application/json",
                )
                return
            except AwsError as error:
                if error.code != "Conflict" and not error.absent:
                    raise
        raise CloudError("StateBusy", f"The state of {name} is being written by somebody else.", "It is tried again.")

    def load(self, id: str) -> dict[str, Any] | None:
        """The document, or None where there is none."""
        return self._current(id)[0]

    def forget(self, lock: Lock) -> None:
        """Remove the document and the lock of a deployment that is gone. Old versions stay in the bucket's history."""
        for service, call, target in (
            ("s3", "delete_object", self._object(lock.id)),
            ("dynamodb", "delete_item", self._item(lock.id)),
        ):
            try:
                getattr(self.session.client(service), call)(**target)
            except AwsError as error:
                if not error.absent:
                    raise

    def _current(self, id: str) -> tuple[dict[str, Any] | None, dict[str, str]]:
        """The document, and the condition under which to write the next one."""
        try:
            answer = self.session.client("s3").get_object(**self._object(id))
        except AwsError as error:
            if error.reason == "NoSuchKey":
                return None, {"IfNoneMatch": "*"}
            raise
        document = json.loads(answer["Body"].read())
        return document, {"IfMatch": answer["ETag"]}

    def _locked(self, id: str) -> CloudError:
        item = self.session.client("dynamodb").get_item(**self._item(id), ConsistentRead=True).get("Item", {})
        holder, until = (item.get(key, {}).get("S", "somebody") for key in ("Holder", "Until"))
        hint = "Another portal works on it, or did and is gone: then the lock ends at that time. It is tried again."
        return CloudError("StateLocked", f"{holder} holds the lock {id} until {until}.", hint)

    def _object(self, id: str) -> dict[str, Any]:
        owner = {"ExpectedBucketOwner": self.configuration.account}
        return {"Bucket": self.configuration.bucket, "Key": f"{id}/state.json", **owner}

    def _item(self, id: str) -> dict[str, Any]:
        return {"TableName": self.configuration.table, "Key": {"LockID": {"S": id}}}
