"""The list of members: search, filters, pages; and the switcher from one organization to another."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from bs4 import BeautifulSoup
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_organization, make_user, stay_away

pytestmark = pytest.mark.django_db
R = OrganizationRole


@pytest.fixture
def owner() -> User:
    return make_user("olga")


@pytest.fixture
def acme(owner: User) -> Organization:
    return make_organization(owner, "Acme")


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def named(first: str, last: str, email: str) -> User:
    user = make_user("somebody")
    User.objects.filter(pk=user.pk).update(first_name=first, last_name=last, email=email)
    return User.objects.get(pk=user.pk)


def names(client: Client, organization: Organization, **query: Any) -> list[str]:
    response = client.get(reverse("accounts:people", args=[organization.pk]), query)
    assert response.status_code == 200
    return [member.user.get_full_name() for member in response.context["members"]]


def test_members_are_found_by_any_part_of_name_and_address(acme: Organization, owner: User) -> None:
    add_to_organization(acme, named("Ada", "Lovelace", "countess@engine.example"), OrganizationRole.MEMBER)
    add_to_organization(acme, named("Zoë", "Öztürk", "zoe@example.org"), OrganizationRole.BILLING)
    client = browser(owner)
    for text in ("ada", "LACE", "ada lovelace", "lovelace ada", "countess", "engine.example", " Ada  Love "):
        assert names(client, acme, q=text) == ["Ada Lovelace"], text
    assert names(client, acme, q="öztürk") == ["Zoë Öztürk"]
    for text in ("ada öztürk", "%", "_", "\\", "' OR 1=1"):
        assert names(client, acme, q=text) == [], text
    assert names(client, acme, role="BILLING") == ["Zoë Öztürk"]
    assert names(client, acme, role="BILLING", q="ada") == []


def test_the_list_is_by_name_and_in_pages_that_say_how_many(acme: Organization, owner: User) -> None:
    for number in range(120):
        add_to_organization(acme, named("Member", f"{number:03}", f"{number}@example.org"), OrganizationRole.MEMBER)
    client = browser(owner)
    seen: list[str] = []
    where: str | None = reverse("accounts:people", args=[acme.pk])
    labels = []
    while where:
        shown = client.get(where).context["page"]
        seen += [member.user.get_full_name() for member in shown.rows]
        labels.append(shown.count_label)
        where = shown.next_url
    assert len(seen) == len(set(seen)) == 121
    assert seen == sorted(seen)
    assert labels == ["1–50 of 121", "51–100 of 121", "101–121 of 121"]
    assert names(client, acme, page="99") == seen[100:]  # as many as there are
    back = client.get(reverse("accounts:people", args=[acme.pk]), {"page": "2", "q": "member"}).context["page"]
    assert back.previous_url.endswith("?q=member&page=1")


def test_how_people_sign_in_is_shown_to_managers_only(acme: Organization, owner: User) -> None:
    member = named("Ada", "Lovelace", "ada@example.org")
    add_to_organization(acme, member, OrganizationRole.MEMBER)
    Authenticator.objects.create(user=member, type=Authenticator.Type.TOTP, data={})
    Authenticator.objects.create(user=owner, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert names(browser(owner), acme, state="two_factor") == ["Ada Lovelace"]
    assert names(browser(owner), acme, state="one_factor") == ["Olga Example"]  # codes alone are no second factor
    assert names(browser(owner), acme, state="never") == ["Ada Lovelace"]  # force_login signed the other one in
    page = browser(member).get(reverse("accounts:people", args=[acme.pk])).content.decode()
    assert "Two-factor</span>" not in page
    assert "Manage" not in page
    assert len(names(browser(member), acme, state="two_factor")) == 2


def test_who_is_locked_out_is_found_marked_by_a_sweep_or_not(acme: Organization, owner: User) -> None:
    last_day, too_long, swept, unlocked = (
        named(name, "Dorm", f"{name.lower()}@example.org") for name in ("Day", "Long", "Swept", "Back")
    )
    for user in (last_day, too_long, swept, unlocked):
        add_to_organization(acme, user, OrganizationRole.MEMBER)
    stay_away(last_day, days=89)
    stay_away(too_long, days=91)
    User.objects.filter(pk=swept.pk).update(locked_at=timezone.now())
    stay_away(unlocked, days=91)
    User.objects.filter(pk=unlocked.pk).update(unlocked_at=timezone.now())
    add_to_organization(make_organization(name="Globex"), stay_away(make_user("elsewhere"), days=91), R.MEMBER)
    client = browser(owner)
    assert names(client, acme, state="locked") == ["Long Dorm", "Swept Dorm"]
    assert names(client, acme, state="locked", q="swept") == ["Swept Dorm"]
    assert names(client, acme, state="locked", role="ADMIN") == []
    page = client.get(reverse("accounts:people", args=[acme.pk]), {"state": "locked"}).content.decode()
    assert BeautifulSoup(page, "html.parser").select_one("option[value=locked][selected]")
    everybody = ["Back Dorm", "Day Dorm", "Long Dorm", owner.get_full_name(), "Swept Dorm"]
    assert names(browser(last_day), acme, state="locked") == everybody  # who manages nobody is not told


def test_the_page_of_a_member_offers_the_roles_that_the_viewer_may_give(acme: Organization, owner: User) -> None:
    admin, member = make_user("adam"), make_user("mary")
    add_to_organization(acme, admin, OrganizationRole.ADMIN)
    membership = add_to_organization(acme, member, OrganizationRole.MEMBER)
    own = acme.memberships.get(user=owner)
    where = reverse("accounts:member", args=[acme.pk, membership.pk])
    assert roles_in(browser(owner), where) == ["OWNER", "ADMIN", "BILLING", "MEMBER"]
    assert roles_in(browser(admin), where) == ["ADMIN", "BILLING", "MEMBER"]
    text = browser(admin).get(reverse("accounts:member", args=[acme.pk, own.pk])).content.decode()
    assert "Only owners can change or remove an owner" in text
    assert "Save role" not in text


def roles_in(client: Client, where: str) -> list[str]:
    page = BeautifulSoup(client.get(where).content, "html.parser")
    return [str(option["value"]) for option in page.select("select[name=role] option")]


# --- the switcher ---------------------------------------------------------------------------------------------------


def places(client: Client, where: str) -> dict[str, tuple[str, str]]:
    """Where the switcher of a page leads, and as what, by organization."""
    page = BeautifulSoup(client.get(where).content, "html.parser")
    links = page.select(".places-list a")
    return {
        link.select(".place-name")[0].text: (str(link["href"]), link.select(".place-role")[0].text) for link in links
    }


def test_switching_keeps_the_section_where_the_role_there_has_it(acme: Organization, owner: User) -> None:
    globex = make_organization(name="Globex")
    add_to_organization(globex, owner, OrganizationRole.MEMBER)
    client = browser(owner)
    for name in ("people", "people_roles"):
        assert places(client, reverse(f"accounts:{name}", args=[acme.pk])) == {
            "Acme": (reverse(f"accounts:{name}", args=[acme.pk]), "Owner"),
            "Globex": (reverse(f"accounts:{name}", args=[globex.pk]), "Member"),
        }
    for name in ("accounts:audit", "accounts:settings", "billing:dashboard"):
        found = places(client, reverse(name, args=[acme.pk]))
        assert found["Acme"][0] == reverse(name, args=[acme.pk])
        assert found["Globex"][0] == reverse("workspaces:list", args=[globex.pk]), name


def test_a_section_that_another_cannot_have_leads_to_its_workspaces(acme: Organization, owner: User) -> None:
    """A member's page is of one organization, and an address that only takes forms is no page."""
    client = browser(owner)
    own = acme.memberships.get()
    workspaces = reverse("workspaces:list", args=[acme.pk])
    assert places(client, reverse("accounts:member", args=[acme.pk, own.pk]))["Acme"][0] == workspaces
    response = client.post(reverse("accounts:organization_rename", args=[acme.pk]), {"name": ""})
    assert response.status_code == 422
    assert [place.url for place in response.context["places"]] == [workspaces]


def test_a_hundred_organizations_get_a_filter(acme: Organization, owner: User) -> None:
    where = reverse("accounts:people", args=[acme.pk])
    client = browser(owner)
    assert b"data-places-filter" not in client.get(where).content
    for number in range(99):
        add_to_organization(make_organization(name=f"Tenant {number:02}"), owner, OrganizationRole.MEMBER)
    assert b"data-places-filter" in client.get(where).content
    assert list(places(client, where)) == ["Acme", *(f"Tenant {number:02}" for number in range(99))]
