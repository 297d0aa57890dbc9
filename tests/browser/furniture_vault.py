"""Secrets of the museum, with names and keys as long as they can be."""

from __future__ import annotations

from accounts.models import User
from tests.factories import actor, make_secret
from workspaces import services_secrets as secrets
from workspaces.models import Workspace


def fill_vault(owner: User, workspace: Workspace, endless: Workspace, long: str) -> dict[str, str]:
    """Make them; returns what addresses need."""
    who = actor(owner)
    group = secrets.create_group(
        actor=who, workspace=workspace, name="warehouse", description="The reporting database, read only"
    )
    secrets.create_group(actor=who, workspace=workspace, name="mail")
    values = {"DB_HOST": "db", "DB_USER": "reader", "DB_PASSWORD": "not shown", "DB_CA_CERTIFICATE": "not shown"}
    secret = secrets.create_secret(actor=who, group=group, name="database", values=values)
    secrets.create_secret(actor=who, group=group, name="alerts", values={"SLACK_WEBHOOK": "not shown"})
    many_keys = secrets.create_group(actor=who, workspace=endless, name=long, description=long * 9)
    for number in (1, 2):
        many = {f"K{number}{'X' * 120}{key:02}": "x" for key in range(12)}
        secrets.create_secret(actor=who, group=many_keys, name=f"{number}{long[1:]}", values=many)
    make_secret(endless)
    return {"group": str(group.pk), "secret": str(secret.pk)}
