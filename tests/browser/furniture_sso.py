"""Single sign-on of the museum: a provider that nobody asks, domains in every state, and somebody invited by it."""

from __future__ import annotations

from accounts.models import Organization, SsoIdentity, User
from tests.factories import make_connection, make_domain, make_invitation, make_organization, make_user

ISSUER = "https://login.microsoftonline.com/8f0c1c1e-5b1a-4a4e-9d53-0f3f2d6f4b10/v2.0"


def fill_sso(owner: User, organization: Organization) -> dict[str, str]:
    """Make them; returns what addresses need."""
    connection = make_connection(
        organization, "people.example", issuer=ISSUER, client_id="b5f8c8a2-2f0e-4d0b-9d7c-portal", enabled=True
    )
    make_domain(connection, "subsidiary.people.example", approved=False)
    make_domain(connection, f"{'a-domain-as-long-as-they-come.' * 4}example", approved=False)
    for name in ("sso-one", "sso-two"):
        SsoIdentity.objects.create(connection=connection, subject=name, user=make_user(name))
    strict = make_organization(owner, "Only Through The Door")
    make_connection(strict, "strict.example", issuer=ISSUER, enabled=True, enforced=True)
    make_invitation(strict, "somebody@strict.example", owner, "through-the-door")
    make_invitation(organization, "somebody@people.example", owner, "by-either-way")
    return {"sso_strict": str(strict.pk)}
