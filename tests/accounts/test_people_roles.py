"""Changing roles, removing, leaving: who may, what stays, and what two people do at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import hooks, services_people
from accounts.audit import SYSTEM, Actor
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.standing import lock_roles
from portal.errors import PermissionNeededError, UserError
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_organization,
    make_user,
    make_workspace,
)
from tests.mailbox import delivered
from tests.together import together

R = OrganizationRole


@pytest.fixture
def acme(db: None) -> Organization:
    return make_organization(name="Acme")


def member(organization: Organization, role: OrganizationRole) -> User:
    user = make_user(role.label.lower())
    add_to_organization(organization, user, role)
    return user


def change(organization: Organization, by: User, user: User, role: OrganizationRole) -> Membership:
    return services_people.change_role(actor=actor(by), organization=organization, user=user, role=role)


def role_of(organization: Organization, user: User) -> str:
    return Membership.objects.get(organization=organization, user=user).role


# --- who may --------------------------------------------------------------------------------------------------------


def test_owners_change_everybody_and_the_event_has_before_and_after(acme: Organization) -> None:
    owner, other = member(acme, R.OWNER), member(acme, R.MEMBER)
    for before, after in ((R.MEMBER, R.OWNER), (R.OWNER, R.ADMIN), (R.ADMIN, R.BILLING)):
        change(acme, owner, other, after)
        event = AuditEvent.objects.filter(verb="membership.change_role").latest("number")
        assert event.detail == {"person": other.email, "before": {"role": before}, "after": {"role": after}}
        assert role_of(acme, other) == after


def test_the_same_role_again_changes_nothing(acme: Organization) -> None:
    owner, other = member(acme, R.OWNER), member(acme, R.MEMBER)
    change(acme, owner, other, R.MEMBER)
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(("before", "after"), [(R.MEMBER, R.OWNER), (R.OWNER, R.MEMBER), (R.OWNER, R.OWNER)])
def test_admins_make_and_unmake_no_owner(acme: Organization, before: R, after: R) -> None:
    member(acme, R.OWNER)
    admin, other = member(acme, R.ADMIN), member(acme, before)
    with pytest.raises(PermissionNeededError, match="Owner of Acme"):
        change(acme, admin, other, after)
    assert role_of(acme, other) == before


def test_admins_remove_no_owner(acme: Organization) -> None:
    member(acme, R.OWNER)
    admin, other = member(acme, R.ADMIN), member(acme, R.OWNER)
    with pytest.raises(PermissionNeededError, match="Owner of Acme"):
        services_people.remove_member(actor=actor(admin), organization=acme, user=other)
    assert role_of(acme, other) == R.OWNER


@pytest.mark.parametrize("role", [R.MEMBER, R.BILLING])
def test_others_change_nobody_not_even_themselves(acme: Organization, role: R) -> None:
    """Asked of the service itself, as the view's check may be of a moment ago."""
    weak, other = member(acme, role), member(acme, R.MEMBER)
    for user in (weak, other):
        with pytest.raises(PermissionNeededError):
            change(acme, weak, user, R.ADMIN)
        with pytest.raises(PermissionNeededError):
            services_people.remove_member(actor=actor(weak), organization=acme, user=user)
    assert {role_of(acme, weak), role_of(acme, other)} == {role, R.MEMBER}


def test_nobody_widens_themselves(acme: Organization) -> None:
    """An admin may not see to the bills: giving that role to oneself would be a way around."""
    member(acme, R.OWNER)
    admin = member(acme, R.ADMIN)
    with pytest.raises(UserError, match="OwnRole"):
        change(acme, admin, admin, R.BILLING)
    with pytest.raises(PermissionNeededError):
        change(acme, admin, admin, R.OWNER)
    change(acme, admin, admin, R.MEMBER)
    assert role_of(acme, admin) == R.MEMBER


def test_somebody_of_another_organization_is_nobody_here(acme: Organization) -> None:
    member(acme, R.OWNER)
    stranger = make_user("stranger")
    globex = make_organization(stranger, "Globex")
    other = member(acme, R.MEMBER)
    with pytest.raises(PermissionNeededError):
        change(acme, stranger, other, R.ADMIN)
    with pytest.raises(UserError, match="NotAMember"):
        change(globex, stranger, other, R.ADMIN)


def test_the_platform_itself_needs_no_role(acme: Organization) -> None:
    other = member(acme, R.MEMBER)
    services_people.change_role(actor=SYSTEM, organization=acme, user=other, role=R.OWNER)
    assert role_of(acme, other) == R.OWNER


# --- the last owner -------------------------------------------------------------------------------------------------


LAST: list[Callable[[Actor, Organization, User], object]] = [
    lambda by, acme, user: services_people.change_role(actor=by, organization=acme, user=user, role=R.ADMIN),
    lambda by, acme, user: services_people.remove_member(actor=by, organization=acme, user=user),
    lambda by, acme, user: services_people.leave_organization(actor=by, organization=acme),
]


@pytest.mark.parametrize("go", LAST, ids=["step down", "be removed", "leave"])
def test_the_last_owner_stays(acme: Organization, go: Callable[[Actor, Organization, User], object]) -> None:
    owner, admin = member(acme, R.OWNER), member(acme, R.ADMIN)
    gone = member(acme, R.OWNER)
    User.objects.filter(pk=gone.pk).update(is_active=False)  # an owner who cannot sign in is none to rely on
    before = AuditEvent.objects.count()
    with pytest.raises(UserError, match="LastOwner"):
        go(actor(owner), acme, owner)
    assert role_of(acme, owner) == R.OWNER
    assert AuditEvent.objects.count() == before
    change(acme, owner, admin, R.OWNER)
    go(actor(owner), acme, owner)
    assert Membership.objects.filter(organization=acme, role=R.OWNER, user=admin).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("go", LAST[:2], ids=["demote", "remove"])
def test_two_owners_who_end_each_other_at_once_leave_one(go: Callable[[Actor, Organization, User], object]) -> None:
    acme = make_organization(name="Acme")
    ann, ben = member(acme, R.OWNER), member(acme, R.OWNER)
    for _ in range(5):
        Membership.objects.filter(organization=acme).delete()
        for user in (ann, ben):
            add_to_organization(acme, user, R.OWNER)
        results = together(lambda: go(actor(ann), acme, ben), lambda: go(actor(ben), acme, ann))
        assert [isinstance(result, Exception) for result in results].count(True) == 1, results
        assert Membership.objects.filter(organization=acme, role=R.OWNER).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_leave_at_once_leave_one() -> None:
    acme = make_organization(name="Acme")
    ann, ben = member(acme, R.OWNER), member(acme, R.OWNER)
    results = together(
        *(lambda who=who: services_people.leave_organization(actor=actor(who), organization=acme) for who in (ann, ben))
    )
    assert [isinstance(result, UserError) for result in results].count(True) == 1, results
    assert acme.memberships.count() == 1


# --- a role that goes while its holder submits ----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_an_admin_does_while_being_demoted_is_done_before_or_refused() -> None:
    """Whichever of the two gets the lock first: an admin's gift never comes after the end of the admin."""
    acme = make_organization(name="Acme")
    owner, admin, friend = member(acme, R.OWNER), member(acme, R.ADMIN), member(acme, R.MEMBER)
    for _ in range(5):
        before = list(AuditEvent.objects.values_list("pk", flat=True))
        for user, role in ((admin, R.ADMIN), (friend, R.MEMBER)):
            Membership.objects.filter(organization=acme, user=user).update(role=role)
        _, gift = together(lambda: change(acme, owner, admin, R.MEMBER), lambda: change(acme, admin, friend, R.ADMIN))
        verbs = list(AuditEvent.objects.exclude(pk__in=before).order_by("number").values_list("actor_user", flat=True))
        if isinstance(gift, PermissionNeededError):
            assert (role_of(acme, friend), verbs) == (R.MEMBER, [owner.pk])
        else:
            assert (role_of(acme, friend), verbs) == (R.ADMIN, [admin.pk, owner.pk])


def test_a_form_sent_with_a_role_that_is_gone_is_refused(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view saw an admin; the demotion committed before the service got the lock."""
    member(acme, R.OWNER)
    admin, friend = member(acme, R.ADMIN), member(acme, R.MEMBER)
    client = Client()
    client.force_login(admin)

    def late(organization: Organization) -> Organization:
        Membership.objects.filter(user=admin).update(role=R.MEMBER)
        return lock_roles(organization)

    monkeypatch.setattr("accounts.services_people.lock_roles", late)
    where = reverse("accounts:member", args=[acme.pk, acme.memberships.get(user=friend).pk])
    response = client.post(where, {"role": "ADMIN"})
    assert response.status_code == 403
    assert b"This needs the role Owner or Admin of Acme" in response.content
    assert role_of(acme, friend) == R.MEMBER


# --- what ends with a membership ------------------------------------------------------------------------------------


def test_who_is_removed_loses_workspaces_and_is_told(acme: Organization) -> None:
    owner, user = member(acme, R.OWNER), member(acme, R.MEMBER)
    lab, elsewhere = make_workspace(acme), make_workspace(make_organization(name="Globex"))
    for workspace in (lab, elsewhere):
        add_to_workspace(workspace, user, WorkspaceRole.ADMIN)
    client = Client()
    client.force_login(user)
    services_people.remove_member(actor=actor(owner), organization=acme, user=user)
    assert client.get(f"/w/{lab.pk}/files/").status_code == 404
    assert client.get(f"/o/{acme.pk}/people/").status_code == 404
    assert list(user.workspace_memberships.values_list("workspace", flat=True)) == [elsewhere.pk]
    assert [(mail.to, mail.subject) for mail in delivered()] == [([user.email], "You were removed from Acme")]
    assert owner.email in str(delivered()[0].body)
    verbs = set(AuditEvent.objects.filter(organization=acme).values_list("verb", flat=True))
    assert verbs == {"membership.remove", "workspace_membership.remove"}


def test_who_leaves_gets_no_mail(acme: Organization) -> None:
    member(acme, R.OWNER)
    user = member(acme, R.MEMBER)
    client = Client()
    client.force_login(user)
    assert client.post(reverse("accounts:leave", args=[acme.pk])).status_code == 302
    assert not Membership.objects.filter(user=user).exists()
    assert delivered() == []
    assert client.post(reverse("accounts:leave", args=[acme.pk])).status_code == 404


def test_an_app_that_refuses_the_end_of_a_membership_keeps_all_of_it(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, user = member(acme, R.OWNER), member(acme, R.MEMBER)
    add_to_workspace(make_workspace(acme), user, WorkspaceRole.ADMIN)

    def refuse(*_: Any) -> None:
        raise UserError("NotNow", "Not now.")

    monkeypatch.setattr(hooks, "membership_ended", [*hooks.membership_ended, refuse])
    with pytest.raises(UserError, match="NotNow"):
        services_people.remove_member(actor=actor(owner), organization=acme, user=user)
    assert user.memberships.count() == user.workspace_memberships.count() == 1
    assert not AuditEvent.objects.exists()
    assert delivered() == []
