"""What becomes of API tokens when people and organizations go; see ``accounts.hooks``."""

from __future__ import annotations

from accounts.audit import Actor
from accounts.models import ApiToken, Organization, User
from accounts.services_tokens import revoke_tokens


def membership_ended(actor: Actor, organization: Organization, user: User) -> None:
    """What somebody made in an organization and its workspaces ends with their membership, and stays ended."""
    made = ApiToken.objects.filter(organization=organization, created_by=user)
    revoke_tokens(actor=actor, tokens=made, reason="who made it left the organization")


def organization_deleted(actor: Actor, organization: Organization) -> None:
    """Nothing of an organization can be used after it."""
    made = ApiToken.objects.filter(organization=organization)
    revoke_tokens(actor=actor, tokens=made, reason="the organization is deleted")
