"""What the apps above know about the things of a workspace. They append to these lists when they start
(``AppConfig.ready``)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from django.http import HttpRequest

from accounts.audit import Actor
from accounts.models import User
from portal.clouds.base import Owned
from portal.errors import UserError
from workspaces.models import Catalog, CloudConfiguration, InstanceRole, Secret, SecretGroup, Workspace

Usable = Catalog | SecretGroup | Secret | InstanceRole

uses: list[Callable[[Usable], list[str]]] = []
"""What uses a catalog, a group of secrets, a secret or an instance role, each as ``template nightly-load``. Asked in
the transaction of a deletion, with the row locked."""

configuration_pages: list[tuple[str, str, Collection[str]]] = []
"""More pages of a cloud configuration: what the link to it says, the name of an address with the ids of organization
and configuration, and the providers that have it."""

deployments: list[Callable[[Collection[CloudConfiguration]], list[Owned]]] = []
"""What else stands in the accounts of cloud configurations: clusters. What is not told here is taken
for something without a record."""

configuration_uses: list[Callable[[CloudConfiguration], list[str]]] = []
"""What else stands on a cloud configuration, each as ``the usage alarm nightly``. Asked in the transaction of its
deletion, with the row locked."""


entered: list[Callable[[HttpRequest, Workspace], None]] = []
"""Somebody enters a workspace."""

member_left: list[Callable[[Actor, Workspace, User], None]] = []
"""Somebody left a workspace or was removed from it. Inside the transaction."""

workspace_deleted: list[Callable[[Actor, Workspace], None]] = []
"""A workspace is to go: ask what stands in it to go, too. Inside the transaction."""

going_first: list[Callable[[Workspace], bool]] = []
"""Whether something stands in a workspace that must be gone before its files are removed."""


def refuse_if_used(subject: Usable) -> None:
    """Raises UserError(InUse) with the names of what uses it."""
    names = [name for ask in uses for name in ask(subject)]
    if names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise UserError(
            "InUse",
            f"{subject} is used by {', '.join(names[:10])}{more}.",
            "Change them first, then delete it.",
        )
