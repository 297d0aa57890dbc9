"""Joining by the link of an invitation: who may, once, and what a link that does not work says."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import services_invitations, services_joining, services_organizations, services_people
from accounts.addresses import normal_email, shown
from accounts.models import AuditEvent, Invitation, InvitationStatus, Membership, Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.services import add_member
from accounts.tokens import hash_of
from portal.errors import UserError
from tests.accounts.conftest import new_browser
from tests.factories import (
    PASSWORD,
    actor,
    add_to_organization,
    add_to_workspace,
    make_invitation,
    make_organization,
    make_user,
    make_workspace,
)
from tests.fakes import Clock
from tests.together import together
from workspaces.models import Workspace, WorkspaceMembership

pytestmark = pytest.mark.django_db
R = OrganizationRole
FORM = {"first_name": "Ada", "last_name": "Lovelace", "password": "an engine of brass", "accept_terms": "on"}


@pytest.fixture
def owner() -> User:
    return make_user("olga")


@pytest.fixture
def acme(owner: User) -> Organization:
    return make_organization(owner, "Acme")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def link(token: str, verb: str = "") -> str:
    return reverse("accounts:invitation", args=[token]) + verb


def is_explained(response: Any, status: int, code: str) -> str:
    """The page for a link that does not work, which says what to do."""
    text: str = response.content.decode()
    assert (response.status_code, code in text) == (status, True), text
    assert "data-error-message" in text
    return text


def nobody_joined() -> bool:
    events = AuditEvent.objects.filter(verb__in=["invitation.accept", "membership.create", "user.activate"])
    return not events.exists() and not Invitation.objects.filter(status=InvitationStatus.ACCEPTED).exists()


# --- with an account ------------------------------------------------------------------------------------------------


def test_who_has_an_account_signs_in_and_comes_back(acme: Organization, owner: User, browser: Client) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", role=R.BILLING)
    page = browser.get(link("letmein"))
    assert page.status_code == 200
    text = page.content.decode()
    assert f"{reverse('account_login')}?next={link('letmein')}" in text
    assert 'name="password"' not in text
    assert browser.post(link("letmein", "accept/"))["Location"] == link("letmein")  # not signed in: the page says so
    form = {"login": ada.email, "password": PASSWORD}
    assert browser.post(f"/accounts/login/?next={link('letmein')}", form)["Location"] == link("letmein")
    text = browser.get(link("letmein")).content.decode()
    for part in ("Olga Example invites you", "Acme", "Billing", "Accept", "Decline"):
        assert part in text
    assert nobody_joined()  # so far, all was looking
    response = browser.post(link("letmein", "accept/"), follow=True)
    assert response.redirect_chain == [(f"/o/{acme.pk}/workspaces/", 302)]
    assert "Welcome to Acme" in response.content.decode()
    assert Membership.objects.get(user=ada).role == "BILLING"
    row = Invitation.objects.get()
    assert (row.status, row.accepted_by) == ("ACCEPTED", ada)
    event = AuditEvent.objects.get(verb="invitation.accept")
    assert (event.actor_user, event.organization, event.detail) == (ada, acme, {"invited_by": owner.email})


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_changes_nothing(acme: Organization, owner: User, method: str) -> None:
    """Mail scanners and previews open links."""
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein")
    for client in (Client(), signed_in(ada), signed_in(make_user("bob"))):
        for verb in ("", "accept/", "decline/", "sign-up/"):
            assert getattr(client, method)(link("letmein", verb)).status_code == (405 if verb else 200)
    assert nobody_joined()
    assert Invitation.objects.get().status == "PENDING"


def test_somebody_else_is_told_whom_it_is_for_and_never_joins(acme: Organization, owner: User) -> None:
    ada, bob = make_user("ada"), make_user("bob")
    make_invitation(acme, ada.email, owner, "letmein")
    client = signed_in(bob)
    text = client.get(link("letmein")).content.decode()
    assert "a•••@e•••.org" in text
    assert ada.email not in text
    assert "Sign out" in text
    assert 'accept/"' not in text
    for verb in ("accept/", "decline/"):
        assert ada.email not in is_explained(client.post(link("letmein", verb)), 403, "InvitationForAnother")
    assert client.post(link("letmein", "sign-up/"), FORM)["Location"] == link("letmein")
    assert nobody_joined()
    assert Invitation.objects.get().status == "PENDING"
    response = client.post(reverse("account_logout"), {"next": link("letmein")})
    assert response["Location"] == link("letmein")
    assert "Sign in" in client.get(link("letmein")).content.decode()


def test_any_address_that_a_person_has_confirmed_is_theirs(acme: Organization, owner: User) -> None:
    ada = make_user("ada")
    address = EmailAddress.objects.create(user=ada, email="ada@example.com", verified=False)
    make_invitation(acme, "ada@example.com", owner, "letmein")
    client = signed_in(ada)
    is_explained(client.post(link("letmein", "accept/")), 403, "InvitationForAnother")
    address.verified = True
    address.save()
    assert client.post(link("letmein", "accept/")).status_code == 302
    assert acme.memberships.filter(user=ada).exists()


def test_a_look_alike_is_somebody_else(acme: Organization, owner: User) -> None:
    """Whoever has an address that reads the same is not invited by it."""
    ada = make_user("ada")
    EmailAddress.objects.create(user=ada, email=normal_email("ada@exаmple.com"), verified=True)
    make_invitation(acme, "ada@example.com", owner, "letmein")
    is_explained(signed_in(ada).post(link("letmein", "accept/")), 403, "InvitationForAnother")


def test_declining_is_an_answer(acme: Organization, owner: User) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein")
    client = signed_in(ada)
    text = client.post(link("letmein", "decline/")).content.decode()
    assert "You will not join Acme" in text
    assert nobody_joined()
    event = AuditEvent.objects.get(verb="invitation.decline")
    assert (event.actor_user, event.object_label) == (ada, ada.email)
    is_explained(client.get(link("letmein")), 410, "InvitationDeclined")
    is_explained(client.post(link("letmein", "accept/")), 410, "InvitationDeclined")


def test_who_has_no_account_may_decline_too(acme: Organization, owner: User) -> None:
    make_invitation(acme, "nobody@example.com", owner, "letmein")
    assert Client().post(link("letmein", "decline/")).status_code == 200
    assert Invitation.objects.get().status == "DECLINED"
    assert not User.objects.filter(email="nobody@example.com").exists()


@pytest.mark.parametrize(("has", "offered"), [(R.ADMIN, R.MEMBER), (R.MEMBER, R.OWNER), (R.BILLING, R.ADMIN)])
def test_accepting_neither_narrows_nor_widens_a_role(acme: Organization, owner: User, has: R, offered: R) -> None:
    """Somebody who came in by another way meanwhile keeps the role that they were given there."""
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", role=offered)
    add_member(actor=actor(owner), organization=acme, user=ada, role=has)
    client = signed_in(ada)
    assert f"keep the role {has.label}" in client.get(link("letmein")).content.decode()
    text = client.post(link("letmein", "accept/"), follow=True).content.decode()
    assert f"You were in Acme already, and keep the role {has.label}" in text
    assert Membership.objects.get(user=ada).role == has


# --- without an account ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_open", [True, False])
def test_who_has_no_account_makes_one_by_the_link(
    acme: Organization, owner: User, browser: Client, settings: Settings, is_open: bool
) -> None:
    settings.PORTAL_SIGNUP_OPEN = is_open
    email = f"ada-{os.getpid()}-{int(is_open)}@xn--bcher-kva.example"
    make_invitation(acme, email, owner, "letmein", role=R.ADMIN)
    assert shown(email) in browser.get(link("letmein")).content.decode()
    response = browser.post(link("letmein", "sign-up/"), {**FORM, "email": "other@example.com"}, follow=True)
    assert response.redirect_chain[-1] == (f"/o/{acme.pk}/workspaces/", 302)
    ada = User.objects.get(email=email)
    assert (ada.get_full_name(), ada.check_password(FORM["password"])) == ("Ada Lovelace", True)
    assert ada.terms_version
    assert ada.terms_accepted_at
    address = EmailAddress.objects.get(user=ada)
    assert (address.email, address.verified, address.primary) == (email, True, True)
    assert not User.objects.filter(email="other@example.com").exists()
    assert (Membership.objects.get(user=ada).role, Membership.objects.filter(user=ada).count()) == ("ADMIN", 1)
    assert browser.get(f"/o/{acme.pk}/people/").status_code == 200  # signed in
    verbs = AuditEvent.objects.filter(organization=acme, actor_user=ada).order_by("number")
    assert list(verbs.values_list("verb", flat=True)) == [
        *("user.activate", "membership.create", "invitation.accept", "user.sign_in")
    ]
    written = email.replace("xn--bcher-kva", "Bücher")
    assert new_browser().post("/accounts/login/", {"login": written, "password": FORM["password"]})["Location"] == "/"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("password", value) for value in ("", "short", "1234567890123", "password123", "lovelace-ada")),
        *(("first_name", value) for value in ("", "a\x00b", "x" * 101, "\u3164")),
        *(("last_name", ""), ("accept_terms", "")),
    ],
)
def test_a_form_filled_in_wrongly_makes_nothing(acme: Organization, owner: User, field: str, value: str) -> None:
    make_invitation(acme, "ada-lovelace@example.com", owner, "letmein")
    response = Client().post(link("letmein", "sign-up/"), {**FORM, field: value})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert FORM["password"] not in response.content.decode()
    assert nobody_joined()
    assert not User.objects.filter(email="ada-lovelace@example.com").exists()


def test_an_account_made_meanwhile_is_not_taken_over(acme: Organization, owner: User) -> None:
    """Not even one that nobody has confirmed: its password is somebody's, and perhaps not the invited person's."""
    make_invitation(acme, "ada@example.com", owner, "letmein")
    assert "Create account" in Client().get(link("letmein")).content.decode()
    User.objects.create_user("ada@example.com", PASSWORD)
    is_explained(Client().post(link("letmein", "sign-up/"), FORM), 409, "AccountExists")
    assert nobody_joined()
    assert "Sign in" in Client().get(link("letmein")).content.decode()
    assert User.objects.get(email="ada@example.com").check_password(PASSWORD)


@pytest.mark.parametrize("step", ["add_member", "audit.record", "EmailAddress.objects.create"])
def test_a_sign_up_that_crashes_leaves_nothing(
    acme: Organization, owner: User, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    make_invitation(acme, "ada@example.com", owner, "letmein")
    monkeypatch.setattr(f"accounts.services_joining.{step}", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        Client().post(link("letmein", "sign-up/"), FORM)
    assert nobody_joined()
    assert not User.objects.filter(email="ada@example.com").exists()
    monkeypatch.undo()
    assert Client().post(link("letmein", "sign-up/"), FORM).status_code == 302


# --- into a workspace -----------------------------------------------------------------------------------------------


def test_a_workspace_invitation_brings_somebody_into_both(acme: Organization, owner: User) -> None:
    lab, ada = make_workspace(acme, name="Lab"), make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", workspace=lab, workspace_role=WorkspaceRole.DEVELOPER)
    client = signed_in(ada)
    text = client.get(link("letmein")).content.decode()
    for part in ("Lab", "Acme", "Developer"):
        assert part in text
    assert client.post(link("letmein", "accept/"))["Location"] == f"/w/{lab.pk}/"
    assert Membership.objects.get(user=ada, organization=acme).role == "MEMBER"
    assert WorkspaceMembership.objects.get(user=ada, workspace=lab).role == WorkspaceRole.DEVELOPER
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert verbs == {"membership.create", "workspace_membership.create", "invitation.accept"}


def test_a_workspace_role_is_neither_narrowed_nor_widened(acme: Organization, owner: User) -> None:
    lab, ada = make_workspace(acme), make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", workspace=lab, workspace_role=WorkspaceRole.ADMIN)
    add_to_workspace(lab, ada, WorkspaceRole.VIEWER)
    signed_in(ada).post(link("letmein", "accept/"))
    assert WorkspaceMembership.objects.get(user=ada, workspace=lab).role == WorkspaceRole.VIEWER


def test_a_workspace_that_is_gone_takes_nobody(acme: Organization, owner: User) -> None:
    lab, ada = make_workspace(acme), make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", workspace=lab, workspace_role=WorkspaceRole.ADMIN)
    Workspace.objects.filter(pk=lab.pk).update(status="TERMINATED")
    is_explained(signed_in(ada).post(link("letmein", "accept/")), 410, "WorkspaceGone")
    assert nobody_joined()
    assert not Membership.objects.filter(user=ada).exists()


def test_a_workspace_that_is_not_ready_leads_to_the_list(acme: Organization, owner: User) -> None:
    lab, ada = make_workspace(acme, status="INPROGRESS"), make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", workspace=lab, workspace_role=WorkspaceRole.ADMIN)
    assert signed_in(ada).post(link("letmein", "accept/"))["Location"] == f"/o/{acme.pk}/workspaces/"


# --- links that do not work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["x", "letmei", "letmein1", "LETMEIN", "%00", "é" * 50, "x" * 5000, "..", "'"])
def test_a_forged_link_opens_nothing(acme: Organization, owner: User, token: str) -> None:
    make_invitation(acme, "ada@example.com", owner, "letmein")
    for client in (Client(), signed_in(make_user("ada"))):
        is_explained(client.get(link(token)), 404, "InvitationUnknown")
        for verb in ("accept/", "decline/", "sign-up/"):
            response = client.post(link(token, verb), FORM)
            assert response.status_code in {302, 404}
    assert nobody_joined()
    assert Invitation.objects.get().status == "PENDING"


def test_the_hash_in_the_database_is_no_link(acme: Organization, owner: User) -> None:
    row = make_invitation(acme, "ada@example.com", owner, "letmein")
    is_explained(Client().get(link(row.token_hash)), 404, "InvitationUnknown")


def test_seven_days_and_not_a_moment_longer(acme: Organization, owner: User, clock: Clock) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein", expires_at=clock() + services_invitations.VALID)
    client = signed_in(ada)
    clock.move(days=7, microseconds=-1)
    assert client.get(link("letmein")).status_code == 200
    clock.move(microseconds=1)
    for response in (client.get(link("letmein")), client.post(link("letmein", "accept/"))):
        assert "Ask Olga Example for a new one" in is_explained(response, 410, "InvitationExpired")
    is_explained(Client().post(link("letmein", "sign-up/"), FORM), 410, "InvitationExpired")
    assert nobody_joined()


def test_a_revoked_link_says_so(acme: Organization, owner: User) -> None:
    row = make_invitation(acme, "ada@example.com", owner, "letmein")
    services_invitations.revoke_invitation(actor=actor(owner), invitation=row)
    is_explained(Client().get(link("letmein")), 410, "InvitationRevoked")
    is_explained(Client().post(link("letmein", "sign-up/"), FORM), 410, "InvitationRevoked")


def test_a_link_works_once(acme: Organization, owner: User) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein")
    client = signed_in(ada)
    client.post(link("letmein", "accept/"))
    assert client.get(link("letmein"))["Location"] == f"/o/{acme.pk}/workspaces/"  # it was them: on to where they are
    is_explained(client.post(link("letmein", "accept/")), 410, "InvitationUsed")
    for other in (Client(), signed_in(make_user("bob"))):
        is_explained(other.get(link("letmein")), 410, "InvitationUsed")
    is_explained(Client().post(link("letmein", "sign-up/"), FORM), 410, "InvitationUsed")


def test_who_was_removed_does_not_come_back_by_the_old_link(acme: Organization, owner: User) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein")
    client = signed_in(ada)
    client.post(link("letmein", "accept/"))
    services_people.remove_member(actor=actor(owner), organization=acme, user=ada)
    is_explained(client.get(link("letmein")), 410, "InvitationUsed")
    is_explained(client.post(link("letmein", "accept/")), 410, "InvitationUsed")
    assert not Membership.objects.filter(user=ada).exists()


def test_an_invitation_stands_with_its_sender(acme: Organization, owner: User) -> None:
    """Also when nothing revoked it: the rule is asked when somebody wants to join."""
    admin, ada = make_user("adam"), make_user("ada")
    membership = add_to_organization(acme, admin, R.ADMIN)
    make_invitation(acme, ada.email, admin, "letmein")
    client = signed_in(ada)
    assert client.get(link("letmein")).status_code == 200
    for change in (
        lambda: Membership.objects.filter(pk=membership.pk).update(role=R.MEMBER),
        lambda: membership.delete(),
    ):
        change()
        for response in (client.get(link("letmein")), client.post(link("letmein", "accept/"))):
            text = is_explained(response, 410, "InvitationSenderGone")
            assert "Ask somebody else there" in text
    assert nobody_joined()
    services_invitations.resend_invitation(actor=actor(owner), invitation=Invitation.objects.get())
    Invitation.objects.update(token_hash=hash_of("letmein"))
    assert client.post(link("letmein", "accept/")).status_code == 302


def test_an_owner_s_invitation_of_an_owner_needs_an_owner(acme: Organization, owner: User) -> None:
    second, ada = make_user("second"), make_user("ada")
    membership = add_to_organization(acme, second, R.OWNER)
    make_invitation(acme, ada.email, second, "letmein", role=R.OWNER)
    Membership.objects.filter(pk=membership.pk).update(role=R.ADMIN)
    is_explained(signed_in(ada).post(link("letmein", "accept/")), 410, "InvitationSenderGone")


def test_a_workspace_s_invitation_stands_with_who_manages_the_workspace(acme: Organization, owner: User) -> None:
    lab, leader, ada = make_workspace(acme), make_user("lea"), make_user("ada")
    membership = add_to_workspace(lab, leader, WorkspaceRole.ADMIN)
    make_invitation(acme, ada.email, leader, "letmein", workspace=lab, workspace_role=WorkspaceRole.ADMIN)
    client = signed_in(ada)
    assert client.get(link("letmein")).status_code == 200
    membership.delete()
    is_explained(client.post(link("letmein", "accept/")), 410, "InvitationSenderGone")


def test_an_account_that_is_closed_invites_nobody(acme: Organization, owner: User) -> None:
    make_invitation(acme, "ada@example.com", owner, "letmein")
    User.objects.filter(pk=owner.pk).update(is_active=False)
    is_explained(Client().get(link("letmein")), 410, "InvitationSenderGone")


def test_an_organization_that_is_gone_takes_nobody(acme: Organization, owner: User) -> None:
    ada = make_user("ada")
    make_invitation(acme, ada.email, owner, "letmein")
    services_organizations.delete_organization(actor=actor(owner), organization=acme)
    is_explained(signed_in(ada).get(link("letmein")), 410, "InvitationRevoked")
    Invitation.objects.update(status="PENDING")  # were it left over
    is_explained(signed_in(ada).post(link("letmein", "accept/")), 410, "InvitationSenderGone")


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_tabs_that_accept_at_once_make_one_membership() -> None:
    owner, ada = make_user("olga"), make_user("ada")
    acme = make_organization(owner, "Acme")
    for number in range(4):
        Membership.objects.filter(user=ada).delete()
        token = f"letmein{number}"
        make_invitation(acme, ada.email, owner, token)
        before = AuditEvent.objects.count()
        results = together(*[lambda token=token: services_joining.accept_invitation(actor=actor(ada), token=token)] * 2)
        refused = [result for result in results if isinstance(result, UserError)]
        assert [error.code for error in refused] == ["InvitationUsed"], results
        assert Membership.objects.filter(user=ada).count() == 1
        written = AuditEvent.objects.order_by("number")[before:]
        assert [event.verb for event in written] == ["membership.create", "invitation.accept"]


@pytest.mark.django_db(transaction=True)
def test_two_sign_ups_by_one_link_at_once_make_one_account() -> None:
    owner = make_user("olga")
    acme = make_organization(owner, "Acme")
    make_invitation(acme, "ada@example.com", owner, "letmein")
    clients = Client(), Client()
    responses = together(*(lambda c=client: c.post(link("letmein", "sign-up/"), FORM) for client in clients))
    assert sorted(getattr(response, "status_code", 0) for response in responses) == [302, 410]
    ada = User.objects.get(email="ada@example.com")
    assert ada.memberships.count() == EmailAddress.objects.filter(user=ada).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_links_of_two_organizations_at_once_make_one_account() -> None:
    owner = make_user("olga")
    for name in ("Acme", "Globex"):
        make_invitation(make_organization(owner, name), "ada@example.com", owner, name)
    responses = together(
        *(lambda name=name: Client().post(link(name, "sign-up/"), FORM) for name in ("Acme", "Globex"))
    )
    assert sorted(getattr(response, "status_code", 0) for response in responses) == [302, 409]
    assert User.objects.get(email="ada@example.com").memberships.count() == 1
    assert Invitation.objects.open().count() == 1  # the other one can still be accepted, signed in


@pytest.mark.django_db(transaction=True)
def test_revoking_and_accepting_at_once_is_one_or_the_other() -> None:
    owner, ada = make_user("olga"), make_user("ada")
    acme = make_organization(owner, "Acme")
    for number in range(4):
        Membership.objects.filter(user=ada).delete()
        row = make_invitation(acme, ada.email, owner, f"letmein{number}")
        accepted, revoked = together(
            partial(services_joining.accept_invitation, actor=actor(ada), token=f"letmein{number}"),
            partial(services_invitations.revoke_invitation, actor=actor(owner), invitation=row),
        )
        assert isinstance(accepted, UserError) != isinstance(revoked, UserError), (accepted, revoked)
        row.refresh_from_db()
        joined = Membership.objects.filter(user=ada).exists()
        assert row.status == ("ACCEPTED" if joined else "REVOKED")
