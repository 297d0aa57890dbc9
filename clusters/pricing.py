"""Whether an instance type has a price. Money is the billing app's, which stands above and puts its own check here."""

from __future__ import annotations

from collections.abc import Callable

from workspaces.models import Workspace


def _anything(workspace: Workspace, instance_type: str) -> None:
    """Where nobody charges, everything may be started."""


refuse_unpriced: Callable[[Workspace, str], None] = _anything
"""Raises UserError where nobody could charge for an instance of this type in this workspace."""
