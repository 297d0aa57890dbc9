"""What ``manage.py check --deploy`` says of our own settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning


def sandbox_in_the_open(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """In the sandbox anybody can make an organization that seems to be paid for."""
    if settings.PORTAL_MARKETPLACE != "sandbox":
        return []
    return [
        Warning(
            "The sandbox marketplace is on.",
            hint="Set PORTAL_MARKETPLACE to aws or off where not only you can reach the portal.",
            id="accounts.W001",
        )
    ]
