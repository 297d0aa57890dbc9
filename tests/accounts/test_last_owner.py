"""What staff cannot do: take the last active owner from an organization, or act beyond its own permissions on many."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts import audit, services_people, services_staff
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.permissions import OrganizationRole
from portal.errors import UserError
from tests.factories import actor, add_to_organization, make_organization, make_user, stay_away
from tests.together import together

pytestmark = pytest.mark.django_db
R = OrganizationRole


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


def deactivate(staff: Client, user: User) -> str:
    where = reverse("admin:accounts_user_task", args=[user.pk, "deactivate"])
    return staff.post(where, {"text": "Left"}, follow=True).content.decode()


def is_active(user: User) -> bool:
    return User.objects.filter(pk=user.pk, is_active=True).exists()


def test_deactivating_them_is_refused_and_says_what_to_do(staff: Client, alice: User, acme: Organization) -> None:
    for role in (R.ADMIN, R.MEMBER):
        add_to_organization(acme, make_user(), role)
    User.objects.filter(pk=add_to_organization(acme, make_user("gone"), R.OWNER).user_id).update(is_active=False)
    shared = make_organization(alice, "Shared")
    add_to_organization(shared, make_user("other"), R.OWNER)
    text = deactivate(staff, alice)
    assert "Alice Example is the only active owner of Acme." in text
    assert "Make somebody else an owner first, or delete the organization." in text
    assert is_active(alice)
    assert not AuditEvent.objects.exists()
    add_to_organization(acme, bob := make_user("bob"), R.OWNER)
    assert "is shut out" in deactivate(staff, alice)
    assert not is_active(alice)
    assert "only active owner of Acme" in deactivate(staff, bob)


def test_those_of_deleted_organizations_and_other_roles_are_not_kept(
    staff: Client, alice: User, acme: Organization
) -> None:
    Organization.objects.filter(pk=acme.pk).update(deleted_at=acme.created_at)
    add_to_organization(make_organization(make_user("olga"), "Globex"), alice, R.ADMIN)
    assert "is shut out" in deactivate(staff, alice)


def test_many_memberships_at_once_are_removed_all_or_none(staff: Client, alice: User, acme: Organization) -> None:
    bob = add_to_organization(acme, make_user("bob"), R.MEMBER)
    rows = [bob, Membership.objects.get(user=alice)]
    form = {"action": "delete_selected", "_selected_action": [str(row.pk) for row in rows], "post": "yes"}
    page = staff.post(reverse("admin:accounts_membership_changelist"), form, follow=True).content.decode()
    assert "only active owner of Acme" in page
    assert acme.memberships.count() == 2
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("model", ["user", "organization"])
def test_people_and_organizations_are_not_deleted_by_hand(
    staff: Client, alice: User, acme: Organization, model: str
) -> None:
    pk = {"user": alice.pk, "organization": acme.pk}[model]
    assert staff.post(reverse(f"admin:accounts_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    form = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
    staff.post(reverse(f"admin:accounts_{model}_changelist"), form)
    assert acme.memberships.get().user == alice


@pytest.mark.parametrize("may", [True, False])
def test_many_at_once_are_unlocked_by_who_may_and_nobody_above_them(alice: User, may: bool) -> None:
    helper, root = make_user("helper", is_staff=True), stay_away(make_user("root", is_superuser=True), days=91)
    codes = ["view_user", "change_user"] if may else ["view_user"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=codes))
    browser = Client()
    browser.force_login(helper)
    rows = [str(stay_away(alice, days=91).pk), str(root.pk)]
    browser.post(reverse("admin:accounts_user_changelist"), {"action": "unlock", "_selected_action": rows})
    unlocked = AuditEvent.objects.filter(verb="user.unlock").values_list("object_id", flat=True)
    assert list(unlocked) == ([str(alice.pk)] if may else [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("other", ["deactivated too", "leaves"])
def test_two_owners_who_go_at_once_leave_one(other: str) -> None:
    ann, ben = make_user("ann"), make_user("ben")
    both = [make_organization(ann, name) for name in ("Acme", "Globex")]
    for organization in both:
        add_to_organization(organization, ben, R.OWNER)

    def shut_out(user: User) -> None:
        services_staff.deactivate_user(actor=audit.system("test"), user=user, reason="x")

    def ben_goes() -> None:
        if other == "leaves":
            services_people.leave_organization(actor=actor(ben), organization=both[1])
        else:
            shut_out(ben)

    results = together(lambda: shut_out(ann), ben_goes)
    assert [isinstance(result, UserError) for result in results].count(True) == 1, results
    for organization in both:
        assert organization.memberships.filter(role=R.OWNER, user__is_active=True).exists()
