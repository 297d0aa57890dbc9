"""API tokens of the museum: one in each state, and a name as long as it can be."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from accounts.permissions import OrganizationRole, WorkspaceRole
from tests.factories import add_to_organization, make_token, make_user, stay_away
from workspaces.models import Workspace


def fill_tokens(owner: User, workspace: Workspace, long: str) -> None:
    """Make them, for the organization and for the workspace."""
    now, organization = timezone.now(), workspace.organization
    locked, fallen = make_user("sybil"), make_user("trent")
    add_to_organization(organization, stay_away(locked, days=120), OrganizationRole.ADMIN)
    used = {"last_used_at": now - timedelta(minutes=4), "last_used_address": "2001:db8:85a3::8a2e:370:7334"}
    for place in ({}, {"workspace": workspace}):
        narrow = WorkspaceRole.VIEWER if place else OrganizationRole.MEMBER
        make_token(owner, organization, name="Airflow", **used, **place)
        make_token(owner, organization, name=long, role=narrow, expires_at=None, **place)
        make_token(locked, organization, name="nightly export", **place)
        make_token(fallen, organization, name="laptop of Trent", **place)
        make_token(owner, organization, name="last year", expires_at=now - timedelta(days=9), **place)
        make_token(owner, organization, name="leaked", revoked_at=now - timedelta(days=2), **place)
