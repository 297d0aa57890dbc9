"""Invitations to people whose organization signs them in itself."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from accounts import services_joining
from accounts.models import AuditEvent, FormerMember, Invitation, Membership, Organization, User
from accounts.permissions import OrganizationRole
from portal.errors import UserError
from tests.factories import PASSWORD, add_to_organization, make_invitation, make_organization, make_user
from tests.fakes import Clock
from tests.sso.world import Acme, finish, move, sign_in, user_of

pytestmark = pytest.mark.django_db
ADA = "ada@acme.example"
LINK = "/invitations/letmein/"
FORM = {"first_name": "Ada", "last_name": "Lovelace", "password": "an engine of brass", "accept_terms": "on"}
R = OrganizationRole


@pytest.fixture
def ada(acme: Acme) -> str:
    """Somebody new, who is invited as an admin, and whose password would be refused at the next sign-in."""
    acme.change(enforced=True, joins=False)
    acme.provider.person(ADA)
    make_invitation(acme.organization, ADA, acme.owner, "letmein", role=R.ADMIN)
    return ADA


def join(browser: Client, email: str, token: str = "letmein", **form: str) -> Any:
    """Press the button of the page, and sign in at the provider."""
    return sign_in(browser, email, next=LINK, invitation=token, **form)


def text_of(browser: Client, link: str = LINK) -> str:
    return browser.get(link).content.decode()


def test_the_page_leads_to_the_provider_and_offers_no_password(ada: str, browser: Client) -> None:
    text = text_of(browser)
    assert "Acme signs in people with the address ada@acme.example itself" in text
    assert 'name="password"' not in text
    assert "Decline" in text
    assert f'name="email" value="{ada}"' in text
    assert 'name="invitation" value="letmein"' in text


@pytest.mark.parametrize("role", [R.ADMIN, R.OWNER])
def test_a_password_is_not_taken(acme: Acme, ada: str, browser: Client, role: R) -> None:
    Invitation.objects.update(role=role)
    assert browser.post(f"{LINK}sign-up/", FORM)["Location"] == LINK
    with pytest.raises(UserError, match="SsoDemanded"):
        services_joining.sign_up_invited(
            token="letmein", first_name="A", last_name="L", password="an engine of brass", address=None
        )
    assert not User.objects.filter(email=ada).exists()
    assert Invitation.objects.get().status == "PENDING"


def test_signing_in_there_accepts_the_invitation_with_its_role(acme: Acme, ada: str, browser: Client) -> None:
    response = finish(browser, join(browser, ada))
    assert response["Location"] == LINK
    assert browser.get(LINK)["Location"] == f"/o/{acme.organization.pk}/workspaces/"
    user = User.objects.get(email=ada)
    assert (user_of(browser), user.has_usable_password()) == (user, False)
    assert Membership.objects.get(user=user).role == R.ADMIN
    row = Invitation.objects.get()
    assert (row.status, row.accepted_by) == ("ACCEPTED", user)
    events = AuditEvent.objects.filter(organization=acme.organization, actor_user=user)
    assert {"user.create", "membership.create", "invitation.accept"} <= set(events.values_list("verb", flat=True))


def test_where_newcomers_become_members_the_role_is_still_that_of_the_invitation(
    acme: Acme, ada: str, browser: Client
) -> None:
    acme.change(joins=True)
    finish(browser, join(browser, ada))
    assert Membership.objects.get(user__email=ada).role == R.ADMIN


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("expired", "InvitationExpired"),
        ("revoked", "InvitationRevoked"),
        ("of somebody else", "InvitationForAnother"),
        ("of another organization", "NotAMember"),
        ("unknown", "NotAMember"),
    ],
)
def test_another_invitation_lets_nobody_in(
    acme: Acme, ada: str, browser: Client, clock: Clock, state: str, code: str
) -> None:
    token = "letmein"
    match state:
        case "expired":
            clock.move(days=8)
        case "revoked":
            Invitation.objects.update(status="REVOKED")
        case "of somebody else":
            make_invitation(acme.organization, "bob@acme.example", acme.owner, token := "for-bob")
        case "of another organization":
            other = make_user("other")
            make_invitation(make_organization(other, "Globex"), ADA, other, token := "to-globex")
        case "unknown":
            token = "unknown"
    response = join(browser, ada, token)
    assert code in response.content.decode()
    assert user_of(browser) is None
    assert not User.objects.filter(email=ada).exists()
    assert not Invitation.objects.filter(status="ACCEPTED").exists()


def test_somebody_removed_comes_back_by_it(acme: Acme, ada: str, browser: Client) -> None:
    user = move(make_user("ada"), ada)
    FormerMember.objects.create(organization=acme.organization, user=user)
    assert "Go on with single sign-on" in text_of(browser)
    assert "FormerMember" in sign_in(browser, ada).content.decode()
    finish(browser, join(browser, ada))
    assert user_of(browser) == user
    assert Membership.objects.get(user=user).role == R.ADMIN


def test_it_signs_nobody_in_as_somebody_of_another_organization(acme: Acme, ada: str, browser: Client) -> None:
    """Or whoever has a provider could invite people of other tenants, and be them."""
    user = move(make_user("ada"), ada)
    add_to_organization(make_organization(name="Globex"), user, R.MEMBER)
    assert "MemberElsewhere" in join(browser, ada).content.decode()
    assert user_of(browser) is None
    assert Invitation.objects.get().status == "PENDING"


def test_who_accepts_with_a_password_goes_on_with_the_provider(acme: Acme, ada: str, browser: Client) -> None:
    user = move(make_user("ada"), ada)
    browser.post("/accounts/login/", {"login": ada, "password": PASSWORD})
    assert user_of(browser) == user
    response = browser.post(f"{LINK}accept/")
    landing = f"/o/{acme.organization.pk}/workspaces/"
    assert response["Location"] == f"/sso/?email=ada%40acme.example&next={landing.replace('/', '%2F')}"
    assert user_of(browser) is None
    assert "through its own provider only" in str(list(get_messages(response.wsgi_request))[-1])
    assert f'value="{ada}"' in text_of(browser, response["Location"])
    assert finish(browser, sign_in(browser, ada, next=landing))["Location"] == landing
    assert Membership.objects.get(user=user).role == R.ADMIN


def test_who_came_through_the_provider_accepts_and_stays(acme: Acme, ada: str, browser: Client) -> None:
    acme.change(joins=True)
    finish(browser, sign_in(browser, ada))
    assert browser.post(f"{LINK}accept/")["Location"] == f"/o/{acme.organization.pk}/workspaces/"
    assert user_of(browser) is not None


def test_where_it_is_no_must_both_ways_are_offered(acme: Acme, ada: str, browser: Client) -> None:
    acme.change(enforced=False)
    text = text_of(browser)
    assert 'name="password"' in text
    assert "Go on with single sign-on" in text
    finish(browser, join(browser, ada))
    assert Membership.objects.get(user__email=ada).role == R.ADMIN


@pytest.mark.parametrize("joins", [True, False])
def test_an_invitation_of_another_organization(acme: Acme, browser: Client, joins: bool) -> None:
    """The domain's provider is the way where it lets newcomers in. Where it would refuse them, they are nobody of
    whom its organization could demand anything."""
    acme.change(enforced=True, joins=joins)
    acme.provider.person(ADA)
    other = make_user("other")
    globex: Organization = make_organization(other, "Globex")
    make_invitation(globex, ADA, other, "letmein")
    text = text_of(browser)
    assert ("Acme signs in people" in text, 'name="password"' in text) == (joins, not joins)
    if joins:
        assert finish(browser, join(browser, ADA))["Location"] == LINK
        assert "Accept" in text_of(browser)
        assert browser.post(f"{LINK}accept/")["Location"] == f"/o/{globex.pk}/workspaces/"
    else:
        assert browser.post(f"{LINK}sign-up/", FORM)["Location"] == f"/o/{globex.pk}/workspaces/"
    assert Membership.objects.filter(user__email=ADA, organization=globex).exists()


def test_other_domains_are_not_concerned(acme: Acme, ada: str, browser: Client) -> None:
    make_invitation(acme.organization, "eve@elsewhere.example", acme.owner, "for-eve")
    text = text_of(browser, "/invitations/for-eve/")
    assert 'name="password"' in text
    assert "single sign-on" not in text
    assert browser.post("/invitations/for-eve/sign-up/", FORM)["Location"] == f"/o/{acme.organization.pk}/workspaces/"
