"""The parts of which the table of permissions is made (``permissions``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BUCKET = "$$BUCKET_NAME$$"
TABLE = "$$DYNAMO_ARN$$"
NODE_POLICY = "$$NODE_POLICY$$"

TAG = "portal:workspace"
"""On everything that the portal makes for a workspace; its value is the workspace's uuid."""


@dataclass(frozen=True)
class Grant:
    """Actions that are needed for one purpose, on which resources, under which conditions.

    ``context`` is the circumstance under which the conditions hold, for asking AWS whether the actions are allowed.
    """

    name: str
    purpose: str
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """As it stands in a policy."""
        conditions = {"Condition": {kind: dict(keys) for kind, keys in self.conditions.items()}}
        return {
            "Sid": self.name,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
            **(conditions if self.conditions else {}),
        }


def actions(service: str, names: str) -> tuple[str, ...]:
    """Actions of a service, by their names."""
    return tuple(f"{service}:{name}" for name in names.split())


TAGGED: dict[str, Any] = {
    "conditions": {"Null": {f"aws:ResourceTag/{TAG}": "false"}},
    "context": {f"aws:ResourceTag/{TAG}": "validation"},
}
"""For a grant over things of ours only."""
