"""The members of a workspace: adding, inviting, roles, leaving; and who manages it through the organization."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services_people
from accounts.models import AuditEvent, Invitation, Membership, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from portal.errors import PermissionNeededError, UserError
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_invitation,
    make_organization,
    make_user,
    make_workspace,
)
from tests.mailbox import delivered, link_in_mail
from tests.together import together
from workspaces import services, services_members
from workspaces.models import Workspace, WorkspaceMembership

pytestmark = pytest.mark.django_db
W = WorkspaceRole
_number = itertools.count(1)


def new_address() -> str:
    """One that was sent nothing yet: limits are counted across tests."""
    return f"colleague-{os.getpid()}-{next(_number)}@example.com"


@pytest.fixture
def owner() -> User:
    return make_user("olga")


@pytest.fixture
def lab(owner: User) -> Workspace:
    return make_workspace(make_organization(owner, "Acme"), name="Lab")


@pytest.fixture
def leader(lab: Workspace) -> User:
    """An ADMIN of the workspace who is a plain MEMBER of the organization."""
    return member(lab, W.ADMIN)


def member(workspace: Workspace, role: WorkspaceRole) -> User:
    user = make_user(role.label.lower())
    add_to_workspace(workspace, user, role)
    return user


def colleague(workspace: Workspace, role: OrganizationRole = OrganizationRole.MEMBER) -> User:
    """Somebody in the organization who is not in the workspace."""
    user = make_user("carl")
    add_to_organization(workspace.organization, user, role)
    return user


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def add(workspace: Workspace, by: User, *emails: str, role: WorkspaceRole = W.DEVELOPER) -> services_members.Welcomed:
    return services_members.add_members(actor=actor(by), workspace=workspace, emails=emails, role=role)


def role_of(workspace: Workspace, user: User) -> str | None:
    row = WorkspaceMembership.objects.filter(workspace=workspace, user=user).first()
    return row.role if row else None


# --- adding and inviting --------------------------------------------------------------------------------------------


def test_members_of_the_organization_are_in_at_once_and_are_told(lab: Workspace, leader: User) -> None:
    carl = colleague(lab)
    client = browser(carl)
    assert client.get(f"/w/{lab.pk}/files/").status_code == 404
    form = {"emails": f"Carl <{carl.email.upper()}>", "role": "BodoDeveloper"}
    response = browser(leader).post(reverse("workspaces:member_add", args=[lab.pk]), form, follow=True)
    assert "Carl Example can enter Lab now" in response.content.decode()
    assert role_of(lab, carl) == W.DEVELOPER
    assert client.get(f"/w/{lab.pk}/clusters/").status_code == 200
    assert not Invitation.objects.exists()
    mail = delivered()[-1]
    assert (mail.to, mail.subject) == ([carl.email], "You can enter Lab")
    for part in (leader.email, "Developer", "Lab of Acme", f"/w/{lab.pk}/"):
        assert part in str(mail.body)


def test_others_are_invited_and_join_the_organization_with_no_other_rights(lab: Workspace, leader: User) -> None:
    """By somebody who may not invite people to the organization itself."""
    email = new_address()
    welcomed = add(lab, leader, email, role=W.VIEWER)
    assert welcomed.added == []
    [row] = welcomed.invited
    assert (row.email, row.role, row.workspace_role) == (email, "MEMBER", W.VIEWER)
    assert delivered()[-1].subject == "Admin Example invites you to Lab"
    form = {"first_name": "Ada", "last_name": "Lovelace", "password": "an engine of brass", "accept_terms": "on"}
    client = Client()
    response = client.post(f"{link_in_mail(email)}sign-up/", form, follow=True)
    assert response.redirect_chain[-1][0].startswith(f"/w/{lab.pk}/")
    ada = User.objects.get(email=email)
    assert Membership.objects.get(user=ada).role == "MEMBER"
    assert role_of(lab, ada) == W.VIEWER
    assert client.post(reverse("workspaces:member_add", args=[lab.pk]), {}).status_code == 403


def test_several_are_added_and_invited_at_once_or_none(lab: Workspace, leader: User) -> None:
    carl, new = colleague(lab), new_address()
    form = {"emails": f"{carl.email}, {new}\n{leader.email}", "role": "BodoViewer"}
    client, where = browser(leader), reverse("workspaces:member_add", args=[lab.pk])
    response = client.post(where, form)
    assert response.status_code == 422
    assert f"{leader.email} is in Lab already, with the role Admin" in response.content.decode()
    assert (role_of(lab, carl), Invitation.objects.count(), delivered()) == (None, 0, [])
    text = client.post(where, {**form, "emails": f"{carl.email}, {new}"}, follow=True).content.decode()
    assert "Carl Example can enter Lab now" in text
    assert f"{new} is invited" in text
    assert role_of(lab, carl) == W.VIEWER
    assert Invitation.objects.get().workspace == lab


def test_inviting_again_renews_the_invitation_of_this_workspace_alone(lab: Workspace, owner: User) -> None:
    annex, email = make_workspace(lab.organization, name="Annex"), new_address()
    [first] = add(lab, owner, email, role=W.VIEWER).invited
    [second] = add(annex, owner, email).invited
    [again] = add(lab, owner, email, role=W.ADMIN).invited
    assert again.pk == first.pk != second.pk
    assert (again.workspace_role, second.workspace_role) == (W.ADMIN, W.DEVELOPER)
    event = AuditEvent.objects.get(verb="invitation.resend")
    assert event.detail == {
        "before": {"workspace_role": "BodoViewer"},
        "after": {"workspace_role": "BodoAdmin"},
        "workspace": "Lab",
    }


def test_open_invitations_are_listed_resent_and_revoked_by_who_manages(lab: Workspace, leader: User) -> None:
    [row] = add(lab, leader, new_address()).invited
    before = link_in_mail()
    page = reverse("workspaces:members", args=[lab.pk])
    assert row.email in browser(leader).get(page).content.decode()
    assert row.email not in browser(member(lab, W.DEVELOPER)).get(page).content.decode()
    client = browser(leader)
    assert client.post(reverse("workspaces:invitation_resend", args=[lab.pk, row.pk]))["Location"] == page
    assert Client().get(before).status_code == 404
    assert Client().get(link_in_mail()).status_code == 200
    assert client.post(reverse("workspaces:invitation_revoke", args=[lab.pk, row.pk]))["Location"] == page
    assert Client().get(link_in_mail()).status_code == 410


def test_an_invitation_to_the_organization_is_not_the_workspace_s(lab: Workspace, owner: User, leader: User) -> None:
    row = make_invitation(lab.organization, new_address(), owner)
    for verb in ("resend", "revoke"):
        where = reverse(f"workspaces:invitation_{verb}", args=[lab.pk, row.pk])
        assert browser(leader).post(where).status_code == 404


def test_deleting_a_workspace_ends_its_invitations(lab: Workspace, owner: User, leader: User) -> None:
    add(lab, leader, new_address())
    services.delete_workspace(actor=actor(owner), workspace=lab)
    assert Client().get(link_in_mail()).status_code == 410
    event = AuditEvent.objects.get(verb="invitation.revoke")
    assert event.detail["reason"] == "the workspace is deleted"


# --- who may --------------------------------------------------------------------------------------------------------


WRITES: list[Callable[[User, Workspace, User], object]] = [
    lambda by, lab, user: add(lab, by, new_address()),
    lambda by, lab, user: services_members.change_workspace_role(
        actor=actor(by), workspace=lab, user=user, role=W.ADMIN
    ),
    lambda by, lab, user: services_members.remove_workspace_member(actor=actor(by), workspace=lab, user=user),
]


@pytest.mark.parametrize("write", WRITES, ids=["add", "change", "remove"])
@pytest.mark.parametrize("role", [W.DEVELOPER, W.VIEWER, None])
def test_others_change_nobody_not_even_themselves(
    lab: Workspace, leader: User, role: WorkspaceRole | None, write: Callable[[User, Workspace, User], object]
) -> None:
    """Asked of the services themselves, as the view's check may be of a moment ago."""
    weak = member(lab, role) if role else colleague(lab, OrganizationRole.BILLING)
    for user in {weak, leader}:
        with pytest.raises(PermissionNeededError, match="Admin of the workspace Lab"):
            write(weak, lab, user)
    assert (role_of(lab, weak), role_of(lab, leader)) == (role, W.ADMIN)
    assert not Invitation.objects.exists()


@pytest.mark.parametrize("role", [OrganizationRole.OWNER, OrganizationRole.ADMIN])
def test_owners_and_admins_of_the_organization_manage_every_workspace(lab: Workspace, role: OrganizationRole) -> None:
    manager, viewer = colleague(lab, role), member(lab, W.VIEWER)
    for write in WRITES:
        write(manager, lab, viewer)
    page = browser(manager).get(reverse("workspaces:members", args=[lab.pk])).content.decode()
    assert "Through the organization" in page
    assert manager.email in page


def test_a_manager_of_another_workspace_is_nobody_here(lab: Workspace) -> None:
    annex = make_workspace(lab.organization)
    other, viewer = member(annex, W.ADMIN), member(lab, W.VIEWER)
    for write in WRITES:
        with pytest.raises(PermissionNeededError):
            write(other, lab, viewer)


def test_everybody_in_it_sees_who_is(lab: Workspace, leader: User) -> None:
    page = browser(member(lab, W.VIEWER)).get(reverse("workspaces:members", args=[lab.pk])).content.decode()
    assert leader.email in page
    assert "Add members" not in page
    assert "Manage" not in page
    assert "Leave workspace" in page


@pytest.mark.django_db(transaction=True)
def test_what_an_admin_does_while_being_demoted_is_done_before_or_refused() -> None:
    """Whichever of the two gets the lock first: an admin's gift never comes after the end of the admin."""
    owner = make_user("olga")
    lab = make_workspace(make_organization(owner, "Acme"), name="Lab")
    leader, viewer = member(lab, W.ADMIN), member(lab, W.VIEWER)
    change = services_members.change_workspace_role
    for _ in range(5):
        for user, role in ((leader, W.ADMIN), (viewer, W.VIEWER)):
            WorkspaceMembership.objects.filter(user=user).update(role=role)
        before = AuditEvent.objects.count()
        _, gift = together(
            partial(change, actor=actor(owner), workspace=lab, user=leader, role=W.VIEWER),
            partial(change, actor=actor(leader), workspace=lab, user=viewer, role=W.ADMIN),
        )
        who = list(AuditEvent.objects.order_by("number").values_list("actor_user", flat=True)[before:])
        if isinstance(gift, PermissionNeededError):
            assert (role_of(lab, viewer), who) == (W.VIEWER, [owner.pk])
        else:
            assert (role_of(lab, viewer), who) == (W.ADMIN, [leader.pk, owner.pk])


# --- changing, removing, leaving ------------------------------------------------------------------------------------


def test_a_role_is_changed_with_before_and_after(lab: Workspace, leader: User) -> None:
    viewer = member(lab, W.VIEWER)
    row = WorkspaceMembership.objects.get(user=viewer)
    client, where = browser(leader), reverse("workspaces:member", args=[lab.pk, row.pk])
    assert client.post(where, {"role": "BodoAdmin"}).status_code == 302
    assert client.post(where, {"role": "BodoAdmin"}).status_code == 302  # unchanged
    event = AuditEvent.objects.get(verb="workspace_membership.update")
    assert event.detail == {
        "before": {"role": "BodoViewer"},
        "after": {"role": "BodoAdmin"},
        "person": viewer.email,
    }
    assert client.post(where, {"role": "OWNER"}).status_code == 422


def test_who_is_removed_is_out_at_once_told_and_still_in_the_organization(lab: Workspace, leader: User) -> None:
    developer = member(lab, W.DEVELOPER)
    client = browser(developer)
    row = WorkspaceMembership.objects.get(user=developer)
    response = browser(leader).post(reverse("workspaces:member_remove", args=[lab.pk, row.pk]))
    assert response.status_code == 302
    assert client.get(f"/w/{lab.pk}/files/").status_code == 404
    assert client.get(f"/o/{lab.organization_id}/people/").status_code == 200
    assert [(mail.to, mail.subject) for mail in delivered()] == [([developer.email], "You were removed from Lab")]
    event = AuditEvent.objects.get(verb="workspace_membership.remove")
    assert (event.actor_user, event.detail["before"]) == (leader, {"role": "BodoDeveloper"})


def test_the_last_admin_may_leave_as_the_organization_manages(lab: Workspace, owner: User, leader: User) -> None:
    client = browser(leader)
    response = client.post(reverse("workspaces:leave", args=[lab.pk]))
    assert response["Location"] == f"/o/{lab.organization_id}/workspaces/"
    assert role_of(lab, leader) is None
    assert delivered() == []
    assert client.post(reverse("workspaces:leave", args=[lab.pk])).status_code == 404
    assert browser(owner).get(f"/w/{lab.pk}/settings/").status_code == 200


def test_an_owner_who_is_no_member_cannot_leave(lab: Workspace, owner: User) -> None:
    response = browser(owner).post(reverse("workspaces:leave", args=[lab.pk]))
    assert response.status_code == 409
    assert b"NotAMember" in response.content


@pytest.mark.parametrize("end", ["remove", "leave", "demote"])
def test_invitations_end_with_the_right_to_send_them(lab: Workspace, owner: User, leader: User, end: str) -> None:
    annex = make_workspace(lab.organization)
    add_to_workspace(annex, leader, W.ADMIN)
    [here], [there] = add(lab, leader, new_address()).invited, add(annex, leader, new_address()).invited
    by: dict[str, Any] = {"actor": actor(owner), "workspace": lab, "user": leader}
    if end == "remove":
        services_members.remove_workspace_member(**by)
    elif end == "demote":
        services_members.change_workspace_role(**by, role=W.DEVELOPER)
    else:
        services_members.leave_workspace(actor=actor(leader), workspace=lab)
    assert list(Invitation.objects.open()) == [there]
    assert AuditEvent.objects.get(verb="invitation.revoke").object_label == here.email


def test_who_manages_through_the_organization_keeps_their_invitations(lab: Workspace, owner: User) -> None:
    add_to_workspace(lab, owner, W.ADMIN)
    add(lab, owner, new_address())
    services_members.leave_workspace(actor=actor(owner), workspace=lab)
    assert Invitation.objects.open().count() == 1


def test_leaving_the_organization_leaves_its_workspaces(lab: Workspace, owner: User, leader: User) -> None:
    services_people.remove_member(actor=actor(owner), organization=lab.organization, user=leader)
    event = AuditEvent.objects.get(verb="workspace_membership.remove")
    assert event.detail == {
        "before": {"role": "BodoAdmin"},
        "person": leader.email,
        "reason": "left the organization",
    }


def test_a_member_who_is_gone_when_the_form_arrives(lab: Workspace, owner: User) -> None:
    viewer = member(lab, W.VIEWER)
    WorkspaceMembership.objects.filter(user=viewer).delete()
    for write in WRITES[1:]:
        with pytest.raises(UserError, match="NotAMember"):
            write(owner, lab, viewer)


def test_members_are_found_and_paged(lab: Workspace, owner: User) -> None:
    for number in range(60):
        user = member(lab, W.VIEWER)
        User.objects.filter(pk=user.pk).update(first_name="Member", last_name=f"Number{number:02}")
    client, where = browser(owner), reverse("workspaces:members", args=[lab.pk])
    assert client.get(where).context["page"].count_label == "1–50 of 60"
    assert len(client.get(where, {"page": "2"}).context["members"]) == 10
    assert [row.user.last_name for row in client.get(where, {"q": "member number07"}).context["members"]] == [
        "Number07"
    ]
    assert b"Nobody matches" in client.get(where, {"q": "nobody"}).content
