"""Writes on what a workspace's clusters may be made of: the event that each leaves, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from django.db import transaction

from portal.clouds.base import Features
from tests.factories import make_instance_role
from tests.fakes import FakeCloud
from tests.pages.world import Tenants
from workspaces import services_offers as offers
from workspaces import services_roles as roles

Write = Callable[[Tenants, dict[str, Any]], object]


def in_transaction(write: Callable[..., object], **given: Any) -> object:
    """For those that belong into the transaction of something else."""
    with transaction.atomic():
        return write(**given)


def _refresh(t: Tenants, by: dict[str, Any]) -> None:
    with patch("workspaces.services_offers.cloud_of", return_value=FakeCloud(catalogue_seconds=60)):
        offers.refresh(**by, workspace=t.lab.workspace)


def _create_role(t: Tenants, by: dict[str, Any]) -> None:
    with patch("workspaces.services_roles.cloud_of", return_value=FakeCloud(features=Features(instance_roles=True))):
        roles.create_role(**by, workspace=t.lab.workspace, name="reader", role="arn:aws:iam::123456789012:role/reader")


def _retry_role(t: Tenants, by: dict[str, Any]) -> None:
    roles.retry_role(**by, role=make_instance_role(t.lab.workspace, status="FAILED"))


WRITES: dict[str, tuple[str, Write]] = {
    "workspaces.services_offers.refresh": ("workspace.refresh_offers", _refresh),
    "workspaces.services_roles.create_role": ("instance_role.create", _create_role),
    "workspaces.services_roles.retry_role": ("instance_role.retry", _retry_role),
    "workspaces.services_roles.delete_role": (
        "instance_role.delete",
        lambda t, by: roles.delete_role(**by, role=t.lab.instance_role),
    ),
    "workspaces.services_roles.delete_roles_of": (
        "instance_role.delete",
        lambda t, by: in_transaction(roles.delete_roles_of, **by, workspace=t.lab.workspace),
    ),
}

MAKES_ITS_OWN = ("retry_role",)
