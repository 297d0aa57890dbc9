"""Sending invitations: whom, by whom, again, and no more."""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import services_invitations, services_people
from accounts.models import AuditEvent, Invitation, Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.tokens import hash_of
from portal.errors import PermissionNeededError, UserError
from portal.models import OutgoingMail
from tests.factories import (
    actor,
    add_to_organization,
    make_invitation,
    make_organization,
    make_user,
    make_workspace,
)
from tests.fakes import Clock
from tests.mailbox import delivered, link_in_mail

pytestmark = pytest.mark.django_db
R = OrganizationRole
_number = itertools.count(1)


def new_address(domain: str = "example.com") -> str:
    """One that was sent nothing yet: limits are counted across tests."""
    return f"new-{os.getpid()}-{next(_number)}@{domain}"


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


def send(organization: Organization, by: User, *emails: str, role: OrganizationRole = R.MEMBER) -> list[Invitation]:
    return services_invitations.invite(actor=actor(by), organization=organization, emails=emails, role=role)


def post(client: Client, organization: Organization, emails: str, role: str = "MEMBER") -> Any:
    return client.post(reverse("accounts:invite", args=[organization.pk]), {"emails": emails, "role": role})


def error_of(response: Any) -> str:
    assert response.status_code == 422
    return " ".join(response.context["form"].errors["emails"])


# --- sending --------------------------------------------------------------------------------------------------------


def test_an_invitation_is_mailed_and_listed(acme: Organization, owner: User) -> None:
    email, client = new_address(), browser(owner)
    assert post(client, acme, f"  {email.upper()}\n", "ADMIN").status_code == 302
    row = Invitation.objects.get()
    assert (row.email, row.role, row.invited_by, row.expires_at - row.sent_at) == (
        email,
        "ADMIN",
        owner,
        timedelta(days=7),
    )
    mail = delivered()[-1]
    assert (mail.to, mail.subject) == ([email], "Olga Example invites you to Acme")
    for part in (owner.email, "with the role Admin", email, f"{row.expires_at:%Y-%m-%d %H:%M} UTC"):
        assert part in str(mail.body)
    page = client.get(reverse("accounts:invitations", args=[acme.pk])).content.decode()
    assert email in page
    assert "Olga Example" in page
    event = AuditEvent.objects.get(verb="invitation.create")
    assert (event.object_label, event.detail) == (email, {"after": {"role": "ADMIN"}})


def test_the_link_is_nowhere_but_in_the_mail(acme: Organization, owner: User) -> None:
    [row] = send(acme, owner, new_address())
    waiting = OutgoingMail.objects.get()
    token = link_in_mail().split("/")[2]
    assert len(token) > 40
    assert row.token_hash == hash_of(token)
    page = browser(owner).get(reverse("accounts:invitations", args=[acme.pk])).content.decode()
    for text in (str(vars(row)), str(AuditEvent.objects.get().detail), waiting.sealed, page):
        assert token not in text


def test_several_at_once_are_invited_or_none(acme: Organization, owner: User) -> None:
    client = browser(owner)
    good, other = new_address(), new_address()
    text = error_of(post(client, acme, f"{good}, nobody, аda@example.org\n{other}"))
    assert "nobody is not an e-mail address" in text
    assert "cyrillic small letter a" in text
    assert not Invitation.objects.exists()
    assert post(client, acme, f"Ada <{good}>; {other}\n{good.upper()}").status_code == 302
    assert set(Invitation.objects.values_list("email", flat=True)) == {good, other}
    assert [mail.to for mail in delivered()] == [[good], [other]]


def test_not_more_than_fifty_at_once(acme: Organization, owner: User) -> None:
    text = error_of(post(browser(owner), acme, ",".join(f"a{number}@example.com" for number in range(51))))
    assert "51 addresses" in text
    assert "Enter an e-mail address" in error_of(post(browser(owner), acme, " ,\n;"))


def test_letters_that_may_look_like_others_are_pointed_out(acme: Organization, owner: User) -> None:
    email = new_address("bücher.example")
    response = browser(owner).post(
        reverse("accounts:invite", args=[acme.pk]), {"emails": email, "role": "MEMBER"}, follow=True
    )
    assert f"Look again at {email} (xn--bcher-kva.example)" in response.content.decode()
    assert delivered()[-1].to == [email.replace("bücher", "xn--bcher-kva")]


@pytest.mark.parametrize("spelling", ["{}", "{} ", "<{}>"])
def test_members_are_not_invited_again(acme: Organization, owner: User, spelling: str) -> None:
    member = make_user("mary")
    add_to_organization(acme, member, R.BILLING)
    text = error_of(post(browser(owner), acme, spelling.format(member.email.upper())))
    assert f"{member.email} is in Acme already, with the role Billing" in text
    assert not Invitation.objects.exists()


def test_a_member_s_other_addresses_are_theirs_once_they_are_confirmed(acme: Organization, owner: User) -> None:
    member, second = make_user("mary"), new_address()
    add_to_organization(acme, member, R.MEMBER)
    row = EmailAddress.objects.create(user=member, email=second, verified=False)
    send(acme, owner, second)  # anybody can claim an address
    row.verified = True
    row.save()
    with pytest.raises(UserError, match="AlreadyMember"):
        send(acme, owner, second)


# --- who may --------------------------------------------------------------------------------------------------------


def test_only_owners_invite_owners(acme: Organization, owner: User) -> None:
    admin = make_user("adam")
    add_to_organization(acme, admin, R.ADMIN)
    with pytest.raises(PermissionNeededError, match="Owner of Acme"):
        send(acme, admin, new_address(), role=R.OWNER)
    assert post(browser(admin), acme, new_address(), "OWNER").status_code == 422
    assert not Invitation.objects.exists()
    [row] = send(acme, owner, new_address(), role=R.OWNER)
    for act in (services_invitations.resend_invitation, services_invitations.revoke_invitation):
        with pytest.raises(PermissionNeededError, match="Owner of Acme"):
            act(actor=actor(admin), invitation=row)
    send(acme, admin, new_address(), role=R.ADMIN)


@pytest.mark.parametrize("role", [R.MEMBER, R.BILLING])
def test_others_invite_nobody(acme: Organization, owner: User, role: R) -> None:
    weak = make_user("wendy")
    add_to_organization(acme, weak, role)
    row = make_invitation(acme, new_address(), owner)
    with pytest.raises(PermissionNeededError):
        send(acme, weak, new_address())
    for act in (services_invitations.resend_invitation, services_invitations.revoke_invitation):
        with pytest.raises(PermissionNeededError):
            act(actor=actor(weak), invitation=row)
    assert browser(weak).get(reverse("accounts:invitations", args=[acme.pk])).status_code == 403


def test_a_role_that_is_gone_when_the_form_arrives_invites_nobody(
    acme: Organization, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view saw an admin; the demotion committed before the service got the lock."""
    admin = make_user("adam")
    add_to_organization(acme, admin, R.ADMIN)
    client = browser(admin)
    original = services_people.change_role

    def late(organization: Organization) -> Organization:
        monkeypatch.undo()
        original(actor=actor(owner), organization=organization, user=admin, role=R.MEMBER)
        return organization

    monkeypatch.setattr("accounts.services_invitations.lock_roles", late)
    response = post(client, acme, new_address(), "ADMIN")
    assert response.status_code == 403
    assert not Invitation.objects.exists()


# --- again, and no more ---------------------------------------------------------------------------------------------


def test_inviting_again_renews_the_open_invitation(acme: Organization, owner: User, clock: Clock) -> None:
    admin, email = make_user("adam"), new_address()
    add_to_organization(acme, admin, R.ADMIN)
    [first] = send(acme, owner, email)
    before = link_in_mail()
    clock.move(days=5)
    [again] = send(acme, admin, email, role=R.BILLING)
    assert again.pk == first.pk
    assert (again.role, again.invited_by, again.expires_at) == ("BILLING", admin, clock() + timedelta(days=7))
    assert link_in_mail() != before
    assert Client().get(before).status_code == 404
    assert Client().get(link_in_mail()).status_code == 200
    event = AuditEvent.objects.get(verb="invitation.resend")
    assert event.detail == {"before": {"role": "MEMBER"}, "after": {"role": "BILLING"}}


def test_resending_makes_a_new_link_for_seven_days(acme: Organization, owner: User, clock: Clock) -> None:
    [row] = send(acme, owner, new_address())
    before = link_in_mail()
    clock.move(days=8)
    assert Client().get(before).status_code == 410
    page = browser(owner).get(reverse("accounts:invitations", args=[acme.pk])).content.decode()
    assert "Expired" in page
    response = browser(owner).post(reverse("accounts:invitation_resend", args=[acme.pk, row.pk]))
    assert response.status_code == 302
    assert Client().get(link_in_mail()).status_code == 200
    assert Client().get(before).status_code == 404


def test_revoking_ends_it_and_frees_the_address(acme: Organization, owner: User) -> None:
    email = new_address()
    [row] = send(acme, owner, email)
    link, client = link_in_mail(), browser(owner)
    where = reverse("accounts:invitation_revoke", args=[acme.pk, row.pk])
    assert client.post(where).status_code == 302
    assert Client().get(link).status_code == 410
    assert not client.get(reverse("accounts:invitations", args=[acme.pk])).context["invitations"]
    again = client.post(where)
    assert again.status_code == 409
    assert b"InvitationClosed" in again.content
    resent = client.post(reverse("accounts:invitation_resend", args=[acme.pk, row.pk]))
    assert resent.status_code == 409
    [new] = send(acme, owner, email)
    assert new.pk != row.pk


def test_invitations_are_found_by_address(acme: Organization, owner: User) -> None:
    lab = make_workspace(acme, name="Lab")
    first, second = new_address(), new_address("xn--bcher-kva.example")
    make_invitation(acme, first, owner)
    make_invitation(acme, second, owner, workspace=lab, workspace_role=WorkspaceRole.DEVELOPER)
    client, where = browser(owner), reverse("accounts:invitations", args=[acme.pk])

    def found(text: str) -> set[str]:
        return {row.email for row in client.get(where, {"q": text}).context["invitations"]}

    assert found("") == {first, second}
    assert found(first[:12].upper()) == {first}
    assert found("bcher-kva") == {second}
    assert found("nothing") == set()
    page = client.get(where).content.decode()
    assert "in the workspace Lab" in page
    assert "Developer" in page


def test_one_address_gets_five_mails_an_hour_and_no_more(acme: Organization, owner: User) -> None:
    email = new_address()
    for _ in range(5):
        [row] = send(acme, owner, email)
    token = row.token_hash
    other = make_organization(owner, "Globex")
    with pytest.raises(UserError, match="TooManyInvitations"):
        send(other, owner, email)
    response = browser(owner).post(reverse("accounts:invitation_resend", args=[acme.pk, row.pk]))
    assert response.status_code == 429
    assert b"as many invitations within the hour as one address may be" in response.content
    row.refresh_from_db()
    assert row.token_hash == token  # the link that was sent still works
    assert len(delivered()) == 5


def test_an_organization_has_a_limit_too(acme: Organization, owner: User, settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "invite": "3/h/key"}
    text = error_of(post(browser(owner), acme, ",".join(new_address() for _ in range(4))))
    assert "Acme has sent as many invitations within the hour as it may" in text
    assert not Invitation.objects.exists()  # all or none
    assert delivered() == []


# --- what ends with its sender --------------------------------------------------------------------------------------


def test_who_leaves_takes_along_what_they_sent_and_what_was_sent_to_them(acme: Organization, owner: User) -> None:
    admin = make_user("adam")
    add_to_organization(acme, admin, R.ADMIN)
    elsewhere = make_organization(admin, "Globex")
    lab = make_workspace(acme)
    sent = make_invitation(acme, new_address(), admin)
    to_them = make_invitation(acme, admin.email, owner, workspace=lab, workspace_role=WorkspaceRole.ADMIN)
    others = make_invitation(acme, new_address(), owner), make_invitation(elsewhere, new_address(), admin)
    services_people.remove_member(actor=actor(owner), organization=acme, user=admin)
    assert set(Invitation.objects.open()) == set(others)
    events = AuditEvent.objects.filter(verb="invitation.revoke")
    assert {(event.object_label, event.detail["reason"]) for event in events} == {
        (sent.email, "its sender left"),
        (to_them.email, "who was invited left"),
    }


def test_who_steps_down_takes_along_what_they_could_not_send_any_more(acme: Organization, owner: User) -> None:
    second = make_user("second")
    add_to_organization(acme, second, R.OWNER)
    to_owner = make_invitation(acme, new_address(), second, role=R.OWNER)
    to_member = make_invitation(acme, new_address(), second)
    services_people.change_role(actor=actor(owner), organization=acme, user=second, role=R.ADMIN)
    assert set(Invitation.objects.open()) == {to_member}
    services_people.change_role(actor=actor(owner), organization=acme, user=second, role=R.BILLING)
    assert not Invitation.objects.open().exists()
    assert to_owner.email != to_member.email
