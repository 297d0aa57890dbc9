"""Staff acting as a person: said everywhere, for an hour, with a reason, and never in the person's own account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from accounts import services_impersonation as service
from accounts.audit import Actor
from accounts.impersonation import SESSION_KEY
from accounts.models import AuditEvent, Impersonation, Membership, Organization, User
from accounts.permissions import OrganizationRole
from portal.errors import UserError
from tests.factories import PASSWORD, add_to_organization, make_organization, make_user, stay_away
from tests.fakes import Clock
from tests.mailbox import delivered

pytestmark = pytest.mark.django_db
REASON = "Ticket 4711: the invoice page is empty"


@pytest.fixture
def root() -> User:
    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


def by(staff: User) -> Actor:
    return Actor("staff", f"Staff {staff.email}", staff, "127.0.0.1")


def acting(staff: User, person: User) -> Client:
    """A browser in which a member of staff acts as somebody."""
    client = Client()
    client.force_login(staff)
    row = service.start_impersonation(actor=by(staff), person=person, reason=REASON)
    session = client.session
    session[SESSION_KEY] = row.pk
    session.save()
    return client


def people_page(organization: Organization) -> str:
    return reverse("accounts:people", args=[organization.pk])


def stop(client: Client) -> str:
    response = client.post(reverse("accounts:impersonation_stop"))
    assert response.status_code == 302
    return str(response.headers["Location"])


# --- who, and as whom -----------------------------------------------------------------------------------------------


def test_staff_needs_the_permission_or_to_be_a_superuser(root: User, alice: User) -> None:
    helper = make_user("helper", is_staff=True)
    assert service.why_not(helper, alice)
    helper.user_permissions.add(Permission.objects.get(codename="impersonate_user"))
    helper = User.objects.get(pk=helper.pk)
    assert service.why_not(helper, alice) == service.why_not(root, alice) == ""
    User.objects.filter(pk=helper.pk).update(is_staff=False)
    assert service.why_not(User.objects.get(pk=helper.pk), alice)


@pytest.mark.parametrize(
    "fields", [{"is_staff": True}, {"is_superuser": True}, {"is_active": False}], ids=["staff", "superuser", "inactive"]
)
def test_nobody_acts_as_staff_or_as_somebody_who_cannot_sign_in(root: User, fields: dict[str, bool]) -> None:
    with pytest.raises(UserError, match="ImpersonationRefused"):
        service.start_impersonation(actor=by(root), person=make_user("other", **fields), reason=REASON)
    assert not Impersonation.objects.exists()
    assert not delivered()


def test_nobody_acts_as_somebody_who_is_locked_out(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    stay_away(alice, days=91)
    assert client.get(people_page(acme)).status_code == 302
    assert "locked out" in ended().detail["why"]
    with pytest.raises(UserError, match="locked out"):
        service.start_impersonation(actor=by(root), person=alice, reason=REASON)


def test_a_staff_member_who_is_locked_out_acts_as_nobody(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    stay_away(root, days=91)
    assert "locked out" in client.get(people_page(acme)).content.decode()
    assert client.get(people_page(acme)).headers["Location"].startswith("/accounts/login/")


# --- what it is like ------------------------------------------------------------------------------------------------


def test_pages_are_the_persons_and_say_who_looks(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    page = client.get(people_page(acme)).content.decode()
    assert "<strong>Root Example</strong> acts as <strong>Alice Example</strong>" in page
    missing = client.get(people_page(make_organization()))
    assert missing.status_code == 404
    assert "<strong>Root Example</strong> acts as" in missing.content.decode(), "errors are pages, too"
    assert client.get("/").headers["Location"] == reverse("workspaces:list", args=[acme.pk])


def test_nobody_else_sees_the_banner(alice: User, acme: Organization) -> None:
    client = Client()
    client.force_login(alice)
    assert "acts as" not in client.get(people_page(acme)).content.decode()


def test_what_staff_does_is_audited_as_theirs(root: User, alice: User, acme: Organization) -> None:
    """Through a real page: the workspace is Alice's, the deed is Root's."""
    client = acting(root, alice)
    form = {"name": "Here", "directory": "", "action": "create"}
    assert client.post(reverse("workspaces:configuration_new", args=[acme.pk]), form).status_code == 302
    event = AuditEvent.objects.get(verb="cloud_configuration.create")
    assert event.actor_kind == "staff"
    assert event.actor_label == f"Staff Root Example <{root.email}> as Alice Example <{alice.email}>"
    assert event.actor_user == root
    assert acme.cloud_configurations.get().created_by == alice


def test_each_organization_and_the_person_are_told(root: User, alice: User, acme: Organization) -> None:
    globex = make_organization(name="Globex")
    add_to_organization(globex, alice, OrganizationRole.MEMBER)
    make_organization(name="Initech")
    client = acting(root, alice)
    events = AuditEvent.objects.filter(verb="user.impersonation_start")
    assert {event.organization for event in events} == {acme, globex}
    for event in events:
        assert event.detail["reason"] == REASON
        assert event.object_id == str(alice.pk)
        assert (event.actor_kind, event.actor_user) == ("staff", root)
    (mail,) = delivered()
    assert mail.to == [alice.email]
    assert REASON in mail.body
    assert root.email in mail.body
    stop(client)
    assert AuditEvent.objects.filter(verb="user.impersonation_end").count() == 2
    assert len(delivered()) == 1


def test_somebody_in_no_organization_leaves_an_event_all_the_same(root: User, alice: User) -> None:
    acting(root, alice)
    assert AuditEvent.objects.get(verb="user.impersonation_start").organization is None


# --- what it does not touch -----------------------------------------------------------------------------------------


def test_the_persons_account_stays_as_it_is(root: User, alice: User, acme: Organization) -> None:
    """Above all the last sign-in: an account that nobody but staff uses has to fall asleep all the same."""
    theirs = Client()
    theirs.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    long_ago = alice.date_joined - timedelta(days=80)
    User.objects.filter(pk=alice.pk).update(last_login=long_ago)
    before = User.objects.values().get(pk=alice.pk)
    sessions = list(UserSession.objects.filter(user=alice).values())
    client = acting(root, alice)
    client.get(people_page(acme))
    stop(client)
    assert User.objects.values().get(pk=alice.pk) == before
    assert list(UserSession.objects.filter(user=alice).values()) == sessions
    assert theirs.get(people_page(acme)).status_code == 200


def test_the_staff_members_own_session_goes_on(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    key = client.session.session_key
    assert stop(client) == reverse("admin:accounts_user_change", args=[alice.pk])
    assert client.session.session_key == key
    assert client.get(people_page(acme)).status_code == 404, "Root is in no organization"
    assert client.get(reverse("admin:index")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/accounts/password/change/", "/accounts/email/", "/accounts/2fa/", "/accounts/sessions/"),
        *("/accounts/2fa/totp/activate/", "/organizations/new/", "/admin/", "/admin/accounts/user/"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_the_persons_alone_is_shut(root: User, alice: User, path: str, method: str) -> None:
    client = acting(root, alice)
    response = getattr(client, method)(path)
    assert response.status_code == 403
    page = response.content.decode()
    assert "NotWhileImpersonating" in page
    assert "Stop acting first" in page
    assert ">Stop</button>" in page


def test_an_owners_last_right_is_not_lent(root: User, alice: User, acme: Organization) -> None:
    """Deleting the organization, its owners, its single sign-on."""
    response = acting(root, alice).get(people_page(acme))
    assert response.context["perms_here"] >= {"people_manage", "org_view"}
    assert "org_manage" not in response.context["perms_here"]


# --- how it ends ----------------------------------------------------------------------------------------------------


def ended() -> AuditEvent:
    return AuditEvent.objects.get(verb="user.impersonation_end")


def test_after_an_hour_it_ends_by_itself_and_does_nothing_more(
    root: User, alice: User, acme: Organization, clock: Clock
) -> None:
    client = acting(root, alice)
    clock.move(minutes=59)
    assert client.get(people_page(acme)).status_code == 200
    clock.move(minutes=1)
    form = {"name": "Here", "directory": "", "action": "create"}
    response = client.post(reverse("workspaces:configuration_new", args=[acme.pk]), form)
    assert response.headers["Location"] == reverse("admin:accounts_user_change", args=[alice.pk])
    assert not acme.cloud_configurations.exists()
    assert ended().detail["why"] == "the time was up"
    assert "You no longer act as Alice Example" in client.get(response.headers["Location"]).content.decode()
    assert AuditEvent.objects.filter(verb="user.impersonation_end").count() == 1


def test_a_part_of_a_page_leads_the_whole_page_away(root: User, alice: User, acme: Organization, clock: Clock) -> None:
    client = acting(root, alice)
    clock.move(minutes=61)
    response = client.get(people_page(acme), headers={"hx-request": "true"})
    assert response.headers["HX-Redirect"] == reverse("admin:accounts_user_change", args=[alice.pk])


def test_the_sweep_ends_what_nobody_comes_back_to(root: User, alice: User, acme: Organization, clock: Clock) -> None:
    client = acting(root, alice)
    clock.move(minutes=59)
    assert service.end_expired() == 0
    clock.move(minutes=2)
    assert service.end_expired() == 1
    assert service.end_expired() == 0
    assert ended().actor_kind == "system"
    assert client.get(people_page(acme)).status_code == 302
    assert AuditEvent.objects.filter(verb="user.impersonation_end").count() == 1, "it is told once"


@pytest.mark.parametrize(
    ("who", "fields"),
    [
        ("alice", {"is_active": False}),
        ("alice", {"is_staff": True}),
        ("root", {"is_superuser": False}),
        ("root", {"is_staff": False}),
    ],
)
def test_it_ends_at_once_with_what_allowed_it(
    root: User, alice: User, acme: Organization, who: str, fields: dict[str, bool]
) -> None:
    client = acting(root, alice)
    User.objects.filter(pk={"root": root, "alice": alice}[who].pk).update(**fields)
    assert client.get(people_page(acme)).status_code == 302
    assert ended().detail["why"] != "the time was up"
    assert client.get(people_page(acme)).status_code == 404


def test_it_ends_with_the_staff_members_session(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    User.objects.filter(pk=root.pk).update(is_active=False)
    assert client.get(people_page(acme)).headers["Location"].startswith("/accounts/login/")
    other = acting(make_user("second", is_staff=True, is_superuser=True), alice)
    Session.objects.filter(pk=other.session.session_key).delete()
    assert other.get(people_page(acme)).headers["Location"].startswith("/accounts/login/")


def test_signing_out_ends_both(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    client.post("/accounts/logout/")
    assert ended().detail["why"] == "the staff member signed out"
    assert client.get(people_page(acme)).headers["Location"].startswith("/accounts/login/")
    assert client.get("/admin/").status_code == 302


def test_two_who_end_it_at_once_leave_one_event(root: User, alice: User) -> None:
    acting(root, alice)
    row = Impersonation.objects.get()
    assert service.end_impersonation(actor=by(root), impersonation=row, why="stopped")
    assert not service.end_impersonation(actor=by(root), impersonation=row, why="stopped")
    ended()


def test_the_number_of_somebody_elses_is_worth_nothing(root: User, alice: User, acme: Organization) -> None:
    """A session could only hold it by a mistake of ours; even then it opens nothing."""
    acting(root, alice)
    bob = Client()
    bob.force_login(make_user("bob"))
    session = bob.session
    session[SESSION_KEY] = Impersonation.objects.get().pk
    session.save()
    assert bob.get(people_page(acme)).status_code == 404
    assert SESSION_KEY not in bob.session


def test_stop_without_a_start_is_harmless(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert stop(client) == "/"


def test_losing_the_membership_closes_the_door(root: User, alice: User, acme: Organization) -> None:
    client = acting(root, alice)
    Membership.objects.all().delete()
    assert client.get(people_page(acme)).status_code == 404
