"""What the apps above do when people come and go. They put their functions here when they start (``AppConfig.ready``).

Each is called inside the transaction of the write, and may raise UserError to refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from accounts.audit import Actor
from accounts.models import Invitation, Organization, User
from accounts.permissions import Perm

membership_ended: list[Callable[[Actor, Organization, User], None]] = []
"""Somebody left an organization or was removed: take away what hangs on it (workspace memberships, open work)."""

invitation_accepted: list[Callable[[Actor, Invitation, User], None]] = []
"""Somebody accepted an invitation and is in the organization: let them into what it was for."""

organization_in_use: list[Callable[[Organization], list[str]]] = []
"""What stands in the way of deleting an organization, a line for each, such as ``the workspace Lab``."""

organization_deleted: list[Callable[[Actor, Organization], None]] = []
"""An organization is deleted: take away what hangs on it. Its people lose it without ``membership_ended``."""


def _nothing(organization: Organization, workspace: UUID, people: Collection[User]) -> dict[int, frozenset[Perm]]:
    return {}


permissions_in_workspace: Callable[[Organization, UUID, Collection[User]], dict[int, frozenset[Perm]]] = _nothing
"""What people may do now in a workspace of an organization, by their keys; who may do nothing is left out, and so is
everybody where there is no such workspace. The workspaces app puts its own here."""
