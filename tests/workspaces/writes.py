"""Writes on what a workspace's clusters may be made of: the event that each leaves, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from tests.fakes import FakeCloud
from tests.pages.world import Tenants
from workspaces import services_offers as offers

Write = Callable[[Tenants, dict[str, Any]], object]


def _refresh(t: Tenants, by: dict[str, Any]) -> None:
    with patch("workspaces.services_offers.cloud_of", return_value=FakeCloud(catalogue_seconds=60)):
        offers.refresh(**by, workspace=t.lab.workspace)


WRITES: dict[str, tuple[str, Write]] = {
    "workspaces.services_offers.refresh": ("workspace.refresh_offers", _refresh),
}
