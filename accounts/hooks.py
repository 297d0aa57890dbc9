"""What the apps above do when people come and go. They append to these lists when they start (``AppConfig.ready``).

Each is called inside the transaction of the write, and may raise UserError to refuse it.
"""

from __future__ import annotations

from collections.abc import Callable

from accounts.audit import Actor
from accounts.models import Organization, User

membership_ended: list[Callable[[Actor, Organization, User], None]] = []
"""Somebody left an organization or was removed: take away what hangs on it (workspace memberships, open work)."""
