"""The mails about workspaces. Posted within the transaction of what they tell about."""

from __future__ import annotations

from django.conf import settings

from accounts.audit import Actor
from accounts.letters import send
from accounts.models import User
from workspaces.models import Workspace, WorkspaceMembership


def added(*, actor: Actor, membership: WorkspaceMembership) -> None:
    """To a member of the organization who can enter a workspace from now on."""
    workspace = membership.workspace
    send(
        membership.user.email,
        f"You can enter {workspace}",
        f"{actor.label} added you to the workspace {workspace} of {workspace.organization}, with the role "
        f"{membership.get_role_display()}:",
        settings.SITE_URL + workspace.get_absolute_url(),
    )


def removed(*, actor: Actor, workspace: Workspace, user: User) -> None:
    """To somebody whom others removed."""
    send(
        user.email,
        f"You were removed from {workspace}",
        f"{actor.label} removed you from the workspace {workspace} of {workspace.organization}. You no longer see its "
        "files, clusters and jobs.",
        "If you think that this is a mistake, ask the person who did it.",
    )
