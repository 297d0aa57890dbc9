"""What all steps of an AWS deployment have in common: names, tags, and looking before doing.

A step is found by its two tags, or by its name where things have names. Whatever has no client token (VPC, subnet,
address, security group, key …) is tagged in the call that makes it, so that it can be found if the answer is lost. Nor
are client tokens used where there are some: AWS would go on answering with a thing that was deleted meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.grants import TAG
from portal.clouds.aws.session import Client, Session
from portal.clouds.base import CloudError, Event, Pending
from portal.clouds.plan import NOW

STEP_TAG = "portal:step"
CLUSTER_TAG = "portal:cluster"
"""On everything of a cluster; its value is the cluster's uuid."""

_NOT_IN_TAGS = re.compile(r"[^\w .:/=+@-]")
"""IAM, EFS and Systems Manager refuse all else; EC2 takes it."""


def in_tags(text: str) -> str:
    """A text as all services take it in a tag."""
    return _NOT_IN_TAGS.sub(" ", text)


AGAIN = Pending(NOW)
"""Something was set up; look at once whether it is all."""


@dataclass(frozen=True)
class Work:
    """One deployment in one region. ``id`` is our uuid, ``title`` its name, ``ledger`` the handle's steps."""

    session: Session
    id: str
    title: str
    ledger: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, step: str) -> str:
        """The id of what an earlier step made."""
        return str(self.ledger[step]["id"])

    def tags(self, step: str) -> dict[str, str]:
        """What tells that a thing is ours, whose, and which."""
        return {TAG: self.id, STEP_TAG: step, "Name": f"bodo {in_tags(self.title)[:80]} {step}"}

    def tag_list(self, step: str, key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
        """The tags as most services want them."""
        return [{key: name, value: text} for name, text in self.tags(step).items()]

    def filters(self, step: str) -> list[dict[str, Any]]:
        """What EC2 finds a step's thing by."""
        return [
            {"Name": f"tag:{TAG}", "Values": [self.id]},
            {"Name": f"tag:{STEP_TAG}", "Values": [step]},
        ]


class Resource:
    """A step over one thing. ``find``, ``create`` and ``look`` are the thing's own."""

    name: str
    label: str
    group: str
    fingerprint: str = ""

    def __init__(self, work: Work) -> None:
        self.work = work

    def find(self) -> str | None:
        """The id of the thing, by tag or name."""
        raise NotImplementedError

    def create(self) -> str:
        """Make the thing."""
        raise NotImplementedError

    def look(self, id: str) -> Mapping[str, Any] | None:
        """How the thing is now; None where it is absent, or going without our help."""
        raise NotImplementedError

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Ask for the end of the thing that was seen."""
        raise NotImplementedError

    def ready(self, id: str) -> bool | Pending | Event:
        """At once, unless a thing says otherwise."""
        return True

    def delete(self, id: str | None) -> bool | Event:
        """Look, remove, look again: what was removed twice, or by hand, is no error."""
        id = id or self.find()
        seen = None if id is None else self.look(id)
        if id is None or seen is None:
            return True
        try:
            self.remove(id, seen)
        except AwsError as error:
            if not error.absent:
                raise
        return self.look(id) is None


class Ec2Resource(Resource):
    """Something of EC2's: tagged while it is made, listed by ``Filters``."""

    kind: ClassVar[str]
    describe: ClassVar[str]
    listed: ClassVar[str]
    key: ClassVar[str]
    id_filter: ClassVar[str]
    filter_argument: ClassVar[str] = "Filters"

    @property
    def ec2(self) -> Client:
        """The client."""
        return self.work.session.client("ec2")

    @property
    def tagged(self) -> dict[str, Any]:
        """The argument that tags a thing while it is made."""
        return {"TagSpecifications": [{"ResourceType": self.kind, "Tags": self.work.tag_list(self.name)}]}

    def find(self) -> str | None:
        """The id of the one that carries our tags and is not on its way out."""
        found = [item for item in self._list(self.work.filters(self.name)) if self.alive(item)]
        return str(found[0][self.key]) if found else None

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As EC2 describes it."""
        items = self._list([{"Name": self.id_filter, "Values": [id]}])
        return items[0] if items else None

    def seen(self, id: str) -> Mapping[str, Any]:
        """As EC2 describes what should be there. Raises CloudError(Vanished) where it is not."""
        item = self.look(id)
        if item is None:
            raise vanished(self.label, id)
        return item

    def alive(self, item: Mapping[str, Any]) -> bool:
        """Whether it can be used, now or soon."""
        return True

    def _list(self, filters: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
        call: Callable[..., Any] = getattr(self.ec2, self.describe)
        items: list[Mapping[str, Any]] = call(**{self.filter_argument: filters})[self.listed]
        return items


def vanished(label: str, id: str) -> CloudError:
    """The error where something that was made is not there."""
    hint = "It was made and is gone, or AWS does not show it yet. If it was deleted by hand, delete the workspace."
    return CloudError("Vanished", f"AWS does not know {label} {id}.", hint)
