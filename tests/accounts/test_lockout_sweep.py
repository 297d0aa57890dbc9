"""The sweep that locks who stayed away, its warnings, and the way back in."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import lockout, services_lockout
from accounts.audit import SYSTEM
from accounts.models import AuditEvent, Membership, User
from accounts.permissions import OrganizationRole
from portal.errors import PermissionNeededError, UserError
from portal.models import OutgoingMail
from tests.accounts.test_lockout import DAY, TICK, born, both_say, new_browser, remembered, sign_in
from tests.factories import (
    actor,
    add_to_organization,
    make_organization,
    make_user,
    stay_away,
)
from tests.fakes import Clock
from tests.mailbox import delivered

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return new_browser()


# --- the sweep ------------------------------------------------------------------------------------------------------


def test_the_sweep_marks_once_and_tells_each_organization(clock: Clock) -> None:
    away, fresh = stay_away(make_user("away"), days=90.1), stay_away(make_user("fresh"), days=89.9)
    places = [make_organization(), make_organization()]
    for place in places:
        add_to_organization(place, away, OrganizationRole.MEMBER)
    services_lockout.sweep()
    services_lockout.sweep()
    away.refresh_from_db()
    fresh.refresh_from_db()
    assert (away.locked_at, fresh.locked_at) == (clock(), None)
    rows = AuditEvent.objects.filter(verb="user.lock")
    assert {row.organization for row in rows} == set(places)
    assert len(rows) == 2
    assert {row.actor_kind for row in rows} == {"system"}


def test_who_signs_in_while_the_sweep_runs_is_left_out() -> None:
    user = stay_away(make_user(), days=91)
    stale = User.objects.get(pk=user.pk)
    stay_away(user, days=0)
    assert not services_lockout.lock_user(actor=SYSTEM, user=stale)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_are_one() -> None:
    lost, soon = stay_away(make_user(), days=91), stay_away(make_user(), days=80)
    gate = threading.Barrier(4)

    def sweep() -> None:
        try:
            gate.wait()
            services_lockout.sweep()
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditEvent.objects.filter(verb="user.lock", object_id=str(lost.pk)).count() == 1
    assert AuditEvent.objects.filter(verb="user.warn", object_id=str(soon.pk)).count() == 1
    assert OutgoingMail.objects.count() == 1


# --- warnings -------------------------------------------------------------------------------------------------------


def warned(clock: Clock) -> int:
    """How many mails a sweep sends now."""
    before = OutgoingMail.objects.count()
    services_lockout.sweep()
    return OutgoingMail.objects.count() - before


def test_warnings_go_out_fourteen_and_three_days_before_and_each_once(clock: Clock) -> None:
    user = born(clock)
    ends = clock() + 90 * DAY
    steps = [
        (14 * DAY + TICK, 0),
        (14 * DAY, 1),
        (13.99 * DAY, 0),
        (3 * DAY + TICK, 0),
        (3 * DAY, 1),
        (2.99 * DAY, 0),
        (0 * DAY, 0),
        (-TICK, 0),
    ]
    for before, mails in steps:
        clock.at = ends - before
        assert warned(clock) == mails, before
    user.refresh_from_db()
    assert user.locked_at == clock()


def test_a_warning_says_until_when_and_how_to_keep_the_account(clock: Clock, settings: Settings) -> None:
    user = born(clock)
    ends = clock() + 90 * DAY
    clock.move(days=80)
    services_lockout.sweep()
    (message,) = delivered()
    assert message.to == [user.email]
    text = str(message.body)
    assert f"{ends.day} {ends:%B %Y} at {ends:%H:%M} UTC" in text
    assert f"{settings.SITE_URL}/accounts/login/" in text


def test_a_scheduler_that_was_away_sends_one_warning_and_not_two(clock: Clock) -> None:
    born(clock)
    clock.move(days=88)
    assert warned(clock) == 1
    clock.move(hours=1)
    assert warned(clock) == 0


def test_after_a_sign_in_the_warnings_start_again(clock: Clock) -> None:
    user = born(clock)
    clock.move(days=88)
    assert warned(clock) == 1
    User.objects.filter(pk=user.pk).update(last_login=clock())
    assert warned(clock) == 0
    clock.move(days=76)
    assert warned(clock) == 1
    clock.move(days=11)
    assert warned(clock) == 1


def test_a_window_shorter_than_a_warning_has_none(clock: Clock, settings: Settings) -> None:
    settings.PORTAL_DORMANCY_DAYS = 3
    born(clock)
    clock.move(days=3)
    assert warned(clock) == 0


def test_who_is_shut_out_gets_no_mail(clock: Clock) -> None:
    born(clock, is_active=False)
    clock.move(days=80)
    assert warned(clock) == 0


# --- the way back in ------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(clock: Clock) -> User:
    return stay_away(make_user("locked"), days=100)


def unlock_address(organization: Any, user: User) -> str:
    member = Membership.objects.get(organization=organization, user=user)
    return reverse("accounts:unlock", args=[organization.pk, member.pk])


def test_an_admin_unlocks_a_member(locked: User, clock: Clock, browser: Client) -> None:
    admin = make_user("admin")
    organization = make_organization()
    add_to_organization(organization, admin, OrganizationRole.ADMIN)
    add_to_organization(organization, locked, OrganizationRole.OWNER)
    services_lockout.sweep()
    page = remembered(admin)
    people = f"/o/{organization.pk}/people/"
    assert "Unlock" in page.get(people).content.decode()
    assert page.post(unlock_address(organization, locked))["Location"] == people
    assert 'aria-label="Unlock' not in page.get(people).content.decode()

    event = AuditEvent.objects.get(verb="user.unlock")
    assert (event.actor_user, event.organization, event.object_id) == (admin, organization, str(locked.pk))
    assert event.detail["before"]["locked_at"]
    assert event.detail["after"]["unlocked_at"]
    assert delivered()[-1].to == [locked.email]
    assert str(organization) in str(delivered()[-1].body)
    assert sign_in(browser, locked)["Location"] == "/"


def test_the_days_count_again_from_the_unlocking(locked: User, clock: Clock) -> None:
    services_lockout.unlock_user(actor=SYSTEM, user=locked, organization=None)
    locked.refresh_from_db()
    assert not both_say(locked, clock() + 90 * DAY)
    assert both_say(locked, clock() + 90 * DAY + TICK)


def test_members_and_outsiders_unlock_nobody(locked: User) -> None:
    organization, elsewhere = make_organization(), make_organization()
    member, outsider = make_user("bob"), make_user("charlie")
    add_to_organization(organization, locked, OrganizationRole.MEMBER)
    add_to_organization(organization, member, OrganizationRole.BILLING)
    add_to_organization(elsewhere, outsider, OrganizationRole.OWNER)
    address = unlock_address(organization, locked)
    assert remembered(member).post(address).status_code == 403
    assert remembered(outsider).post(address).status_code == 404
    across = address.replace(str(organization.pk), str(elsewhere.pk))
    assert remembered(outsider).post(across).status_code == 404
    assert "Unlock" not in remembered(member).get(f"/o/{organization.pk}/people/").content.decode()
    locked.refresh_from_db()
    assert lockout.is_locked(locked)


def test_other_organizations_learn_of_it_and_not_who_it_was(locked: User) -> None:
    here, there = make_organization(), make_organization()
    admin = make_user("admin")
    for place in (here, there):
        add_to_organization(place, locked, OrganizationRole.MEMBER)
    add_to_organization(here, admin, OrganizationRole.ADMIN)
    services_lockout.unlock_user(actor=actor(admin), user=locked, organization=here)
    told = {row.organization: row for row in AuditEvent.objects.filter(verb="user.unlock")}
    assert told[here].actor_user == admin
    assert (told[there].actor_user, told[there].actor_kind) == (None, "system")
    assert admin.email not in told[there].actor_label


def test_a_role_that_was_taken_meanwhile_unlocks_nobody(locked: User) -> None:
    organization, admin = make_organization(), make_user("admin")
    with pytest.raises(PermissionNeededError):
        services_lockout.unlock_user(actor=actor(admin), user=locked, organization=organization)
    add_to_organization(organization, admin, OrganizationRole.ADMIN)
    with pytest.raises(UserError, match="NotAMember"):
        services_lockout.unlock_user(actor=actor(admin), user=locked, organization=organization)


def test_who_is_not_locked_is_not_unlocked(clock: Clock) -> None:
    with pytest.raises(UserError, match="UserNotLocked"):
        services_lockout.unlock_user(actor=SYSTEM, user=born(clock), organization=None)
    assert not OutgoingMail.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_who_unlock_at_once_send_one_mail(locked: User) -> None:
    gate, outcomes = threading.Barrier(2), []

    def unlock() -> None:
        try:
            gate.wait()
            services_lockout.unlock_user(actor=SYSTEM, user=locked, organization=None)
            outcomes.append("done")
        except UserError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=unlock) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["UserNotLocked", "done"]
    assert OutgoingMail.objects.count() == 1


def test_the_operator_unlocks_from_the_command_line(locked: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("unlock_user", locked.email.upper())
    assert "can sign in again" in capsys.readouterr().out
    locked.refresh_from_db()
    assert not lockout.is_locked(locked)
    event = AuditEvent.objects.get(verb="user.unlock")
    assert (event.actor_kind, event.organization) == ("system", None)
    with pytest.raises(CommandError, match="not locked"):
        call_command("unlock_user", locked.email)
    with pytest.raises(CommandError, match="Nobody has"):
        call_command("unlock_user", "nobody@example.org")


@pytest.mark.parametrize("step", ["audit._event", "mail.post"])
@pytest.mark.parametrize("service", ["lock_user", "warn_user", "unlock_user"])
def test_nothing_is_done_by_halves(monkeypatch: pytest.MonkeyPatch, service: str, step: str) -> None:
    if (service, step) == ("lock_user", "mail.post"):
        return
    user = stay_away(make_user(), days=80 if service == "warn_user" else 91)
    before = User.objects.filter(pk=user.pk).values().get()

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(f"accounts.services_lockout.{step}", crash)
    given_too = {"organization": None} if service == "unlock_user" else {}
    with pytest.raises(RuntimeError, match="power cut"):
        getattr(services_lockout, service)(actor=SYSTEM, user=user, **given_too)
    assert User.objects.filter(pk=user.pk).values().get() == before
