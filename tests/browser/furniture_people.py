"""The people of the museum: every role and state, a name as long as it can be, and organizations to switch to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.utils import timezone

from accounts.models import Organization, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_organization, make_user

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
    bob = organization.memberships.get(user__first_name="Bob")
    return {"member": str(bob.pk)}
