"""What the operator's pages are for: find somebody, see how things stand, help, and leave a trace of it."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import services_staff
from accounts.audit import Actor
from accounts.lockout import is_locked
from accounts.models import AuditEvent, Impersonation, Membership, Organization, PendingSignup, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from portal import mail
from portal.errors import UserError
from portal.models import OutgoingMail
from tests.accounts.writes_staff import make_pending
from tests.factories import (
    PASSWORD,
    add_to_organization,
    add_to_workspace,
    make_organization,
    make_token,
    make_user,
    make_workspace,
    stay_away,
)
from tests.fakes import Clock
from tests.mailbox import delivered

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(root: User) -> Client:
    return signed_in(root)


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def helper(*permissions: str) -> User:
    """Staff that is no superuser."""
    user = make_user("helper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def page_of(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def task(row: Any, name: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_task", args=[row.pk, name])


def offered(browser: Client, row: Any) -> set[str]:
    where = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return {task.name for task, _ in browser.get(where).context["tasks"]}


def do(browser: Client, row: Any, name: str, text: str = "") -> Any:
    where = task(row, name)
    assert browser.get(where).status_code == 200
    return browser.post(where, {"text": text})


# --- the way in -----------------------------------------------------------------------------------------------------


def test_the_way_in_is_the_portals_own_sign_in(root: User, alice: User) -> None:
    assert Client().get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    assert Client().get("/admin/login/?next=/admin/").headers["Location"].startswith("/accounts/login/?next=")
    assert Client().post("/admin/login/", {"username": root.email, "password": PASSWORD}).status_code == 302
    strange = signed_in(alice)
    assert strange.get("/admin/", follow=True).status_code == 403
    assert signed_in(root).get("/admin/password_change/").headers["Location"] == reverse("account_change_password")


def test_staff_needs_a_second_factor_where_the_portal_can_be_reached(root: User, settings: Settings) -> None:
    settings.PORTAL_STAFF_MFA = True
    browser = signed_in(root)
    response = browser.get("/admin/accounts/user/", follow=True)
    assert response.redirect_chain[-1][0] == reverse("mfa_index")
    assert "need a second factor" in response.content.decode()
    assert browser.post(task(make_user(), "end-sessions")).status_code == 302
    assert not AuditEvent.objects.exists()
    Authenticator.objects.create(user=root, type="totp", data={})
    assert browser.get("/admin/accounts/user/").status_code == 200


def test_the_first_superuser_needs_no_mail() -> None:
    """Who can run commands on the machine has proved enough; mail may not work yet."""
    user = User.objects.create_superuser("First@example.org", PASSWORD)
    assert EmailAddress.objects.get(user=user).verified
    assert AuditEvent.objects.get(verb="user.create_superuser").actor_kind == "system"
    browser = Client(REMOTE_ADDR="10.9.9.1")
    browser.post("/accounts/login/", {"login": "first@example.org", "password": PASSWORD})
    browser.post(reverse("accounts:terms"), {"accept_terms": "on"})
    assert browser.get("/").headers["Location"] == "/admin/"
    assert browser.get("/admin/").status_code == 200


def test_the_queues_own_pages_are_gone(browser: Client) -> None:
    """They have inline scripts, which the policy forbids, write without audit, and would take any staff."""
    assert browser.get("/admin/django_rq/dashboard/").status_code == 404


# --- finding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["alice-", "Alice Example", "acme"])
def test_a_person_is_found_by_address_name_and_organization(
    browser: Client, alice: User, acme: Organization, text: str
) -> None:
    make_organization(make_user("bob"), "Globex")
    found = browser.get(reverse("admin:accounts_user_changelist"), {"q": text}).context["cl"].result_list
    assert list(found) == [alice]


def test_the_page_of_a_person_shows_how_things_stand(browser: Client, alice: User, acme: Organization) -> None:
    Authenticator.objects.create(user=alice, type="totp", data={"secret": "sesame"})
    UserSession.objects.create(user=alice, ip="10.1.2.3", session_key="k", user_agent="Firefox")
    page = browser.get(page_of(alice)).content.decode()
    for part in ("Acme", "Owner", "10.1.2.3", "TOTP", alice.email, "confirmed"):
        assert part in page
    assert "sesame" not in page
    assert alice.password not in page


def test_an_organization_is_found_with_its_people_and_its_use(browser: Client, alice: User, acme: Organization) -> None:
    add_to_organization(acme, make_user("bob"), OrganizationRole.MEMBER)
    make_organization(make_user("charlie"), "Globex")
    where = reverse("admin:accounts_organization_changelist")
    for text in ("acme", alice.email, str(acme.pk)):
        assert list(browser.get(where, {"q": text}).context["cl"].result_list) == [acme]
    page = browser.get(reverse("admin:accounts_organization_change", args=[acme.pk])).content.decode()
    for part in (alice.email, "2 in all", "0.00 US dollars", "Workspaces"):
        assert part in page


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_deactivating_shuts_somebody_out_at_once(browser: Client, root: User, alice: User, acme: Organization) -> None:
    theirs = Client(REMOTE_ADDR="10.9.9.2")
    theirs.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    people = reverse("accounts:people", args=[acme.pk])
    assert theirs.get(people).status_code == 200
    token = make_token(alice, acme)
    add_to_organization(acme, make_user("bob"), OrganizationRole.OWNER)
    do(browser, alice, "deactivate", "Left the company")
    assert theirs.get(people).status_code == 302
    event = AuditEvent.objects.get(verb="user.deactivate")
    assert (event.organization, event.actor_user, event.actor_kind) == (acme, root, "staff")
    assert event.detail == {"reason": "Left the company", "sessions_ended": 1}
    assert AuditEvent.objects.get(verb="api_token.revoke").object_id == str(token.pk)
    do(browser, alice, "reactivate")
    assert theirs.get(people).status_code == 302, "the old session stays ended"
    theirs.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert theirs.get(people).status_code == 200
    assert AuditEvent.objects.filter(verb="user.reactivate").count() == 1


def test_unlocking(browser: Client, root: User, alice: User, acme: Organization) -> None:
    assert "unlock" not in offered(browser, alice)
    stay_away(alice, days=91)
    where = reverse("admin:accounts_user_changelist")
    assert list(browser.get(where, {"locked": "yes"}).context["cl"].result_list) == [alice]
    assert list(browser.get(where, {"locked": "no"}).context["cl"].result_list) == [root]
    do(browser, alice, "unlock")
    alice.refresh_from_db()
    assert not is_locked(alice)
    event = AuditEvent.objects.get(verb="user.unlock")
    assert (event.organization, event.actor_user, event.actor_kind) == (acme, root, "staff")
    assert [sent.to for sent in delivered()] == [[alice.email]]


def test_unlocking_many_at_once_passes_over_those_who_are_not_locked(browser: Client, alice: User) -> None:
    bob = stay_away(make_user("bob"), days=91)
    form = {"action": "unlock", "_selected_action": [str(alice.pk), str(bob.pk)]}
    page = browser.post(reverse("admin:accounts_user_changelist"), form, follow=True).content.decode()
    assert "done for 1 of 2" in page
    assert AuditEvent.objects.get(verb="user.unlock").object_id == str(bob.pk)


def test_nobody_shuts_themselves_out(browser: Client, root: User) -> None:
    response = do(browser, root, "deactivate", "Tired")
    assert "shut yourself out" in browser.get(response.headers["Location"]).content.decode()
    root.refresh_from_db()
    assert root.is_active
    assert not AuditEvent.objects.exists()


def test_a_task_that_asks_is_not_done_without_an_answer(browser: Client, alice: User) -> None:
    response = browser.post(task(alice, "deactivate"), {"text": "  "})
    assert response.status_code == 422
    assert "This field is required" in response.content.decode()
    alice.refresh_from_db()
    assert alice.is_active


def test_sessions_are_ended(browser: Client, alice: User) -> None:
    theirs = Client(REMOTE_ADDR="10.9.9.3")
    theirs.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    do(browser, alice, "end-sessions")
    assert theirs.get("/organizations/new/").status_code == 302
    assert not UserSession.objects.filter(user=alice).exists()
    assert AuditEvent.objects.get(verb="user.end_sessions").detail == {"sessions_ended": 1}


def test_lost_factors_are_removed_and_their_owner_told(browser: Client, alice: User, acme: Organization) -> None:
    Authenticator.objects.create(user=alice, type="totp", data={})
    Authenticator.objects.create(user=alice, type="recovery_codes", data={})
    UserSession.objects.create(user=alice, ip="10.1.2.3", session_key="k", user_agent="Firefox")
    do(browser, alice, "remove-factors", "Video call with their manager")
    assert not Authenticator.objects.filter(user=alice).exists()
    assert not UserSession.objects.filter(user=alice).exists()
    event = AuditEvent.objects.get(verb="user.remove_factors")
    assert event.organization == acme
    assert event.detail["reason"] == "Video call with their manager"
    assert event.detail["kinds"] == ["recovery_codes", "totp"]
    (sent,) = delivered()
    assert sent.to == [alice.email]


def test_tasks_are_offered_when_they_can_be_done(browser: Client, root: User, alice: User) -> None:
    assert offered(browser, alice) == {"act-as", "end-sessions", "deactivate"}
    User.objects.filter(pk=alice.pk).update(is_active=False)
    Authenticator.objects.create(user=alice, type="totp", data={})
    assert offered(browser, alice) == {"end-sessions", "remove-factors", "reactivate"}
    assert browser.post(task(alice, "act-as"), {"text": "x"}).status_code == 302
    assert not Impersonation.objects.exists()
    assert "act-as" not in offered(browser, root)
    assert browser.get(task(alice, "unheard-of")).status_code == 404


def test_acting_as_somebody_begins_here(browser: Client, alice: User, acme: Organization) -> None:
    response = do(browser, alice, "act-as", "Ticket 4711")
    assert response.headers["Location"] == "/"
    page = browser.get("/", follow=True).content.decode()
    assert "acts as <strong>Alice Example</strong>" in page
    assert AuditEvent.objects.get(verb="user.impersonation_start").detail["reason"] == "Ticket 4711"


# --- what staff may do who is no superuser --------------------------------------------------------------------------


def test_staff_sees_and_does_what_its_permissions_say(alice: User) -> None:
    looker = signed_in(helper("view_user"))
    assert offered(looker, alice) == set()
    for name in ("act-as", "deactivate", "end-sessions"):
        assert looker.post(task(alice, name), {"text": "x"}).status_code == 403
    assert looker.get(reverse("admin:accounts_organization_changelist")).status_code == 403
    assert offered(signed_in(helper("view_user", "impersonate_user")), alice) == {"act-as"}
    assert "deactivate" in offered(signed_in(helper("change_user")), alice)


def test_staff_cannot_raise_itself_or_touch_those_above(root: User, alice: User) -> None:
    someone = helper("change_user", "impersonate_user")
    browser = signed_in(someone)
    assert browser.post(page_of(alice), {"first_name": "Al", "is_staff": "on", "is_superuser": "on"}).status_code == 302
    alice.refresh_from_db()
    assert (alice.first_name, alice.is_staff, alice.is_superuser) == ("Al", False, False)
    for other in (root, someone):
        assert browser.post(page_of(other), {"first_name": "X"}).status_code == 403
        assert browser.post(task(other, "deactivate"), {"text": "x"}).status_code == 403
        assert browser.post(task(other, "act-as"), {"text": "x"}).status_code == 403


def test_only_superusers_make_staff_and_it_is_audited(browser: Client, alice: User, acme: Organization) -> None:
    permission = Permission.objects.get(codename="impersonate_user")
    form = {"first_name": "Alice", "last_name": "Example", "is_staff": "on", "user_permissions": [permission.pk]}
    assert browser.post(page_of(alice), form).status_code == 302
    alice.refresh_from_db()
    assert alice.is_staff
    event = AuditEvent.objects.get(verb="user.update")
    assert event.organization == acme
    assert event.detail["after"]["is_staff"] is True
    assert "Can act as another person" in str(event.detail["after"]["user_permissions"])


def test_people_are_neither_made_nor_deleted_by_hand(browser: Client, alice: User) -> None:
    assert browser.get(reverse("admin:accounts_user_add")).status_code == 403
    assert browser.post(reverse("admin:accounts_user_delete", args=[alice.pk]), {"post": "yes"}).status_code == 403


def test_a_form_writes_only_what_was_changed(browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody signs in, or is shut out, between the moment the form's row was read and the moment it is saved."""
    from accounts.admin_users import UserAdmin

    real = UserAdmin.save_model

    def meanwhile(self: UserAdmin, *arguments: Any) -> None:
        User.objects.filter(pk=alice.pk).update(is_active=False)
        real(self, *arguments)

    monkeypatch.setattr(UserAdmin, "save_model", meanwhile)
    browser.post(page_of(alice), {"first_name": "Al", "last_name": "Example"})
    alice.refresh_from_db()
    assert (alice.first_name, alice.is_active) == ("Al", False)


def test_no_event_no_write(browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no audit log")

    monkeypatch.setattr("accounts.audit._event", broken)
    with pytest.raises(RuntimeError, match="no audit log"):
        browser.post(page_of(alice), {"first_name": "Al", "last_name": "Example"})
    alice.refresh_from_db()
    assert alice.first_name == "Alice"


# --- mail -----------------------------------------------------------------------------------------------------------


def given_up() -> OutgoingMail:
    row = mail.post(to="ada@example.org", subject="x", text="y")
    OutgoingMail.objects.filter(pk=row.pk).update(due_at=None, failure="no mail server")
    return row


def test_mail_that_was_given_up_is_sent_again(browser: Client, clock: Clock) -> None:
    row = given_up()
    do(browser, row, "send-again")
    (sent,) = delivered()
    assert sent.to == ["ada@example.org"]
    assert AuditEvent.objects.get().verb == "outgoing_mail.send_again"
    assert offered(browser, row) == set()


def test_many_at_once(browser: Client) -> None:
    rows = [given_up(), given_up()]
    form = {"action": "send-again", "_selected_action": [str(row.pk) for row in rows]}
    browser.post(reverse("admin:portal_outgoingmail_changelist"), form)
    assert AuditEvent.objects.filter(verb="outgoing_mail.send_again").count() == 2
    assert len(delivered()) == 2


def test_many_at_once_are_all_or_none(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [given_up(), given_up()]
    real, calls = services_staff.send_again, []

    def second_fails(*, actor: Actor, outgoing: OutgoingMail) -> None:
        calls.append(outgoing)
        if len(calls) == 2:
            raise UserError("MailGone", "This mail was sent meanwhile.")
        real(actor=actor, outgoing=outgoing)

    monkeypatch.setattr(services_staff, "send_again", second_fails)
    form = {"action": "send-again", "_selected_action": [str(row.pk) for row in rows]}
    response = browser.post(reverse("admin:portal_outgoingmail_changelist"), form)
    assert "sent meanwhile" in browser.get(response.headers["Location"]).content.decode()
    assert not AuditEvent.objects.exists()
    assert not OutgoingMail.objects.exclude(due_at=None).exists()


def test_what_was_sent_is_not_sent_again(browser: Client, root: User) -> None:
    row = given_up()
    OutgoingMail.objects.filter(pk=row.pk).update(sealed="")
    with pytest.raises(UserError, match="MailGone"):
        services_staff.send_again(actor=Actor("staff", "Root", root), outgoing=row)


def test_the_activation_link_is_sent_again(browser: Client) -> None:
    pending = make_pending()
    do(browser, pending, "send-activation")
    assert [sent.to for sent in delivered()] == [[pending.email]]
    assert AuditEvent.objects.get().verb == "pending_signup.send_again"
    PendingSignup.objects.update(expires_at=pending.created_at)
    assert offered(browser, pending) == set()


def test_a_token_is_revoked(browser: Client, alice: User, acme: Organization) -> None:
    token = make_token(alice, acme)
    do(browser, token, "revoke")
    token.refresh_from_db()
    assert token.revoked_at
    event = AuditEvent.objects.get(verb="api_token.revoke")
    assert (event.organization, event.actor_kind) == (acme, "staff")
    assert offered(browser, token) == set()


# --- members --------------------------------------------------------------------------------------------------------


def test_staff_gives_a_role_where_no_owner_is_left(browser: Client, alice: User) -> None:
    orphan = make_organization(name="Orphan")
    form = {"user": alice.pk, "organization": orphan.pk, "role": "OWNER"}
    assert browser.post(reverse("admin:accounts_membership_add"), form).status_code == 302
    assert Membership.objects.get(organization=orphan).role == OrganizationRole.OWNER
    event = AuditEvent.objects.get()
    assert (event.verb, event.organization) == ("membership.create", orphan)


def change_page(row: Membership) -> str:
    return reverse("admin:accounts_membership_change", args=[row.pk])


def test_the_last_owner_stays_an_owner(browser: Client, alice: User, acme: Organization) -> None:
    membership = Membership.objects.get(user=alice)
    page = browser.post(change_page(membership), {"role": "MEMBER"}, follow=True).content.decode()
    assert "only active owner of Acme" in page
    where = reverse("admin:accounts_membership_delete", args=[membership.pk])
    assert "only active owner of Acme" in browser.post(where, {"post": "yes"}, follow=True).content.decode()
    membership.refresh_from_db()
    assert membership.role == OrganizationRole.OWNER
    assert not AuditEvent.objects.exists()
    assert not LogEntry.objects.exists(), "what was refused is not in Django's own log either"


@pytest.mark.parametrize("many", [False, True])
def test_members_are_removed_with_what_hangs_on_them(
    browser: Client, alice: User, acme: Organization, many: bool
) -> None:
    bob = make_user("bob")
    add_to_workspace(make_workspace(acme), bob, WorkspaceRole.VIEWER)
    membership = Membership.objects.get(user=bob)
    if many:
        form = {"action": "delete_selected", "_selected_action": [str(membership.pk)], "post": "yes"}
        browser.post(reverse("admin:accounts_membership_changelist"), form)
    else:
        browser.post(reverse("admin:accounts_membership_delete", args=[membership.pk]), {"post": "yes"})
    assert not bob.memberships.exists()
    assert not bob.workspace_memberships.exists()
    assert AuditEvent.objects.filter(organization=acme, actor_kind="staff", verb__startswith="membership.").count() == 1
    assert [sent.to for sent in delivered()] == [[bob.email]]


def test_an_organization_is_renamed_and_deleted_by_its_services(
    browser: Client, alice: User, acme: Organization
) -> None:
    where = reverse("admin:accounts_organization_change", args=[acme.pk])
    browser.post(where, {"name": "Acme Incorporated"})
    assert AuditEvent.objects.get().verb == "organization.rename"
    workspace = make_workspace(acme)
    page = browser.post(task(acme, "delete"), follow=True).content.decode()
    assert "still has" in page
    type(workspace).objects.all().update(status="TERMINATED")
    acme.cloud_configurations.update(deleted_at=acme.created_at)
    do(browser, acme, "delete")
    acme.refresh_from_db()
    assert acme.deleted_at
    assert AuditEvent.objects.filter(verb="organization.delete", actor_kind="staff").count() == 1
    assert offered(browser, acme) == set()
    assert browser.post(where, {"name": "Back"}).status_code == 302
    acme.refresh_from_db()
    assert acme.name == "Acme Incorporated"
