"""Server time of the people of a large organization."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from bench import stand
from bench.lists import NEEDLE, settle, signed_in, worst_page
from bench.measure import Measurement

MEMBERS = 5_000
INVITATIONS = 300
OTHERS = 20_000
"""People of other organizations, among whom those are looked for."""

_NAMES = ["Alice", "Bob", "Charlie", "Dora", "Erin", "Frank", "Grace", "Heidi", "Ivan", "Judy"]
_FAMILIES = ["Anders", "Baker", "Castro", "Dijkstra", "Ekström", "Fischer", "Garcia", "Hopper", "Ito", "Jensen"]


def members() -> Measurement:
    """The page of 5,000 members, by every filter and by what is worst for each."""
    with stand.database():
        workspace, client = signed_in()
        add_people(workspace.organization)
        settle()
        pages = {
            "first page": "",
            "last page": "?page=100",
            "by a common name": "?q=alice",
            "by a rare name": f"?q={NEEDLE}",
            "by a name that is not there": "?q=nothing+like+it",
            "by role": "?role=MEMBER",
            "by rare role": "?role=BILLING",
            "locked": "?state=locked",
            "with two factors": "?state=two_factor",
            "with one factor": "?state=one_factor",
            "never signed in": "?state=never",
            "by all": "?q=example.org&role=MEMBER&state=locked",
            "by all, the last page": "?q=example.org&role=MEMBER&state=one_factor&page=40",
        }
        return worst_page(client, f"/o/{workspace.organization_id}/people/", pages)


def add_people(organization: Any) -> None:
    """Members of every kind and state, some invited still, and people elsewhere."""
    from allauth.mfa.models import Authenticator
    from django.utils import timezone

    from accounts.models import Invitation, Membership, User
    from tests.factories import make_organization

    chance, now = random.Random(4), timezone.now()

    def person(index: int) -> User:
        first, family = chance.choice(_NAMES), chance.choice(_FAMILIES)
        seen = now - timedelta(days=chance.choice([0, 1, 3, 30, 80, 95, 200]))
        return User(
            email=f"{NEEDLE if index % 997 == 0 else first.lower()}-{index}@example.org",
            first_name=first,
            last_name=family,
            password="!",
            terms_version=1,
            date_joined=now - timedelta(days=300),
            last_login=None if index % 20 == 0 else seen,
            locked_at=now if index % 50 == 0 else None,
        )

    def join(place: Any, users: list[User]) -> None:
        roles = chance.choices(["MEMBER", "ADMIN", "BILLING", "OWNER"], [970, 20, 5, 5], k=len(users))
        Membership.objects.bulk_create(
            [Membership(organization=place, user=user, role=role) for user, role in zip(users, roles, strict=True)]
        )

    here = User.objects.bulk_create([person(index) for index in range(MEMBERS - 1)])
    join(organization, here)
    join(make_organization(), User.objects.bulk_create([person(MEMBERS + index) for index in range(OTHERS)]))
    Authenticator.objects.bulk_create(
        [Authenticator(user=user, type="totp", data={}) for user in here if chance.random() < 0.6]
    )
    Invitation.objects.bulk_create(
        [
            Invitation(
                organization=organization,
                email=f"invited-{index}@example.org",
                role="MEMBER",
                token_hash=f"{index:064}",
                expires_at=now + timedelta(days=7),
            )
            for index in range(INVITATIONS)
        ]
    )
