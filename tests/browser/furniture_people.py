"""The people of the museum: every role and state, a name as long as it can be, and organizations to switch to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.utils import timezone

from accounts.models import Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from tests.factories import add_to_organization, make_invitation, make_organization, make_user

ROLES = list(OrganizationRole)


def fill_people(owner: User, organization: Organization, long: str) -> dict[str, Any]:
    """Make them; returns what addresses need."""
    now = timezone.now()
    for number, name in enumerate(("grace", "heidi", "ivan", "judy", "mallory", "niaj", "olivia", "peggy")):
        user = make_user(name, last_login=now - timedelta(days=number * 11) if number % 4 else None)
        membership = add_to_organization(organization, user, ROLES[number % 4])
        membership.joined_at = now - timedelta(days=20 + number * 40)
        membership.save(update_fields=["joined_at"])
        if number % 2:
            Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    add_to_organization(organization, make_user("quentin", is_active=False), OrganizationRole.MEMBER)
    lengthy = make_user("rupert")
    lengthy.first_name = lengthy.last_name = long
    lengthy.save(update_fields=["first_name", "last_name"])
    add_to_organization(organization, lengthy, OrganizationRole.BILLING)
    for number in range(9):
        add_to_organization(make_organization(name=f"Subsidiary {number + 1}"), owner, ROLES[number % 4])
    add_to_organization(make_organization(name=long), owner, OrganizationRole.MEMBER)
    _invitations(owner, organization)
    bob = organization.memberships.get(user__first_name="Bob")
    first = organization.workspaces.order_by("created_at").first()
    assert first
    return {"member": str(bob.pk), "workspace_member": str(first.memberships.get(user=owner).pk)}


def _invitations(owner: User, organization: Organization) -> None:
    """In every state that the list shows; and links for each page that one can open."""
    now = timezone.now()
    workspace = organization.workspaces.order_by("created_at").first()
    for name in ("judith", "trent", "ursula"):
        make_invitation(organization, f"{name}@example.com", owner)
    make_invitation(organization, "victor@xn--bcher-kva.example", owner, role=OrganizationRole.ADMIN)
    make_invitation(organization, "walter@example.com", owner, expires_at=now - timedelta(days=2))
    make_invitation(organization, f"{'x' * 60}@{'y' * 50}.example", owner, role=OrganizationRole.BILLING)
    make_invitation(
        organization,
        "wendy@example.com",
        owner,
        "join-a-workspace",
        workspace=workspace,
        workspace_role=WorkspaceRole.DEVELOPER,
    )
    make_invitation(organization, make_user("sybil").email, owner, "sign-in-first")
    make_invitation(organization, owner.email, owner, "for-the-owner")
    make_invitation(organization, "old@example.com", owner, "too-late", expires_at=now - timedelta(days=1))
