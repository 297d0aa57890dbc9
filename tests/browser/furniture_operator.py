"""Who operates the museum's portal, and somebody who needs their help."""

from __future__ import annotations

from django.test import Client

from accounts.models import Organization
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_user, stay_away


def fill_operator(organization: Organization) -> dict[str, str]:
    """Make them; returns what the tests need."""
    root = make_user("root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(root)
    sleeper = make_user("rip")
    sleeper.last_name = "Winkle"
    sleeper.save(update_fields=["last_name"])
    add_to_organization(organization, sleeper, OrganizationRole.ADMIN)
    stay_away(sleeper, days=91)
    return {"root_session": client.cookies["sessionid"].value, "sleeper": sleeper.email}
