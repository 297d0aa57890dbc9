"""Ids of another place, in any address: there is nothing for who is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from accounts.models import AuditEvent
from tests.pages.routes import ROUTES, arguments
from tests.pages.test_access import PATTERNS, ask, methods_of
from tests.pages.world import Tenants

IN_WORKSPACES = [
    *(("cluster",), ("run",), ("template",), ("schedule",), ("group", "secret"), ("catalog",), ("invitation",)),
    *(("instance_role",), ("workspace_token",), ("workspace_membership",)),
]
"""Names in addresses of what belongs to a workspace; those that go together are foreign together."""

IN_ORGANIZATIONS = [("configuration",), ("membership",), ("api_token",), ("domain",), ("interval",), ("month",)]
IN_ORGANIZATIONS += [("alarm",), ("endpoint",), ("budget",), ("network",), ("thing",)]
TENANTS = {"organization", "workspace"}
OF_NOBODY = {"action", "session", "tenant", "activation_key", "claim_key", "registration", "invitation_key"}
OF_NOBODY |= {"confirm_key", "unsubscribe_key", "snooze_key"}
"""Words, what belongs to a person or a browser, and the organization that a provider sends somebody back to."""


@dataclass(frozen=True)
class Reach:
    """Somebody in one place who names what belongs to another: all of it, or the ``keys`` in the address."""

    who: str
    place: str
    other: str
    keys: tuple[str, ...] = ()

    def ids(self, tenants: Tenants) -> dict[str, Any]:
        foreign = tenants.ids(getattr(tenants, self.other))
        if not self.keys:
            return foreign
        return {**tenants.ids(getattr(tenants, self.place)), **{key: foreign[key] for key in self.keys}}

    def concerns(self, needed: set[str]) -> bool:
        """Whether an address with these names would reach over."""
        if self.keys:
            same_organization = "abroad" not in {self.place, self.other}
            return bool(needed & set(self.keys)) and ("workspace" in needed or not same_organization)
        return "workspace" in needed or (self.place == "nowhere" and "organization" in needed)


REACHES = [
    Reach("outsider", "nowhere", "lab"),
    Reach("owner", "nowhere", "abroad"),
    Reach("developer", "lab", "annex"),
    *(Reach("outsider", "abroad", "lab", keys) for keys in IN_WORKSPACES + IN_ORGANIZATIONS),
    *(Reach(who, "lab", "annex", keys) for who in ("admin", "ws_admin", "developer") for keys in IN_WORKSPACES),
]


@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: f"{reach.who} {reach.other} {'+'.join(reach.keys)}")
def test_foreign_ids_are_not_found(tenants: Tenants, reach: Reach) -> None:
    """Who lacks the permission in their own place learns only that."""
    client, ids = tenants.client(reach.who), reach.ids(tenants)
    before = AuditEvent.objects.count()
    tried = 0
    for name, pattern in PATTERNS.items():
        if not reach.concerns(set(arguments(pattern))):
            continue
        for method in methods_of(name):
            tried += 1
            status = ask(client, name, method, ids).status_code
            weak = bool(reach.keys) and reach.who not in ROUTES[name].allowed | {"outsider"}
            assert status == (403 if weak else 404), f"{method} {name}"
    assert tried
    assert AuditEvent.objects.count() == before


def test_each_name_in_an_address_is_tried() -> None:
    """A new kind of thing that somebody could name from elsewhere."""
    named = {argument for pattern in PATTERNS.values() for argument in arguments(pattern)}
    tried = {key for keys in IN_WORKSPACES + IN_ORGANIZATIONS for key in keys}
    assert named - TENANTS - OF_NOBODY == tried
