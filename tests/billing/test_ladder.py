"""Warn, refuse, pause: each told before, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import AuditEvent, Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from billing import ladder, services_budgets
from billing.models import Budget, BudgetNotice, SpendHold
from clusters.models import Cluster
from portal.crypto import unseal
from portal.errors import UserError
from portal.models import OutgoingMail
from tests.billing.money import ask, dollar_rate, figures, hold_of, launch, make_budget, settle
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_organization,
    make_run,
    make_user,
    make_workspace,
)
from tests.fakes import Clock
from workspaces.models import Workspace

START = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def organization(alice: User, clock: Clock) -> Organization:
    clock.at = START
    dollar_rate(clock)
    return make_organization(alice, name="Acme")


@pytest.fixture
def lab(organization: Organization) -> Workspace:
    return make_workspace(organization, name="Lab")


def pass_time(organization: Organization, clock: Clock, until: datetime, minutes: int = 5) -> None:
    """The scheduler looks every few minutes, and twice, as two of them do."""
    while clock.at < until:
        clock.at = min(until, clock.at + timedelta(minutes=minutes))
        ladder.climb(organization)
        ladder.climb(organization)


def subjects() -> list[str]:
    return [row.subject for row in OutgoingMail.objects.order_by("pk")]


def test_the_whole_ladder(organization: Organization, lab: Workspace, clock: Clock, alice: User) -> None:
    """10 dollars, and a cluster that costs one an hour: warned after 8, told 15 minutes before, paused after 10."""
    budget = make_budget(organization, 10)
    cluster = settle(launch(lab, alice))
    pass_time(organization, clock, START + timedelta(hours=7, minutes=55))
    assert subjects() == []
    pass_time(organization, clock, START + timedelta(hours=8))
    assert subjects() == ["80 % of the budget of the organization Acme is spent"]
    pass_time(organization, clock, START + timedelta(hours=9, minutes=35))
    assert len(subjects()) == 1
    pass_time(organization, clock, START + timedelta(hours=9, minutes=59))
    assert subjects()[1:] == [f"{cluster} is paused at 19:00 UTC: the budget of the organization Acme is used up"]
    assert Cluster.objects.get().target == "RUNNING"
    pass_time(organization, clock, START + timedelta(hours=10))
    assert Cluster.objects.get().target == "PAUSED"
    assert figures(budget, clock) == (10, 0)
    pass_time(organization, clock, START + timedelta(hours=12), minutes=30)
    assert len(subjects()) == 2
    verbs = AuditEvent.objects.filter(actor_kind="system").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["budget.warn", "budget.announce", "cluster.pause"]
    pause = AuditEvent.objects.get(verb="cluster.pause")
    assert pause.actor_label == "Bodo Cloud Platform (budget of the organization Acme)"
    with pytest.raises(UserError, match="BudgetExceeded"):
        ask(settle(cluster), "resume")


def test_who_is_told(organization: Organization, lab: Workspace, clock: Clock, alice: User) -> None:
    billing, admin, member = make_user("billing"), make_user("admin"), make_user("member")
    add_to_organization(organization, billing, OrganizationRole.BILLING)
    add_to_organization(organization, admin, OrganizationRole.ADMIN)
    add_to_organization(organization, member, OrganizationRole.MEMBER)
    local, bob = make_user("local"), make_user("bob")
    add_to_workspace(lab, local, WorkspaceRole.ADMIN)
    add_to_workspace(lab, bob, WorkspaceRole.DEVELOPER)
    inactive = make_user("inactive", is_active=False)
    add_to_organization(organization, inactive, OrganizationRole.OWNER)
    make_budget(organization, 4, workspace=lab, pauses=False)
    make_budget(organization, 4, user=bob, pauses=False)
    settle(launch(lab, bob, max_lifetime_minutes=240))
    clock.move(hours=3, minutes=30)
    ladder.climb(organization)
    to: dict[str, set[str]] = {}
    for message in OutgoingMail.objects.all():
        to.setdefault(message.subject, set()).add(message.to)
    assert to == {
        "88 % of the budget of the workspace Lab is spent": {alice.email, billing.email, local.email},
        "88 % of the budget of Bob Example is spent": {alice.email, billing.email, bob.email},
    }


def test_the_pause_names_the_run_that_is_cut_and_tells_its_person(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    maker, runner = make_user("maker"), make_user("runner")
    make_budget(organization, 8)
    cluster = settle(launch(lab, maker))
    run = make_run(cluster, name="nightly", status="RUNNING", requested_by=runner)
    Cluster.objects.update(busy_with=run.pk)
    clock.move(hours=7, minutes=40)
    ladder.climb(organization)
    told = OutgoingMail.objects.filter(subject__contains="is paused at")
    assert {maker.email, runner.email} <= {message.to for message in told}
    text = unseal(told[0].sealed)["text"]
    assert "the job nightly is under way on it and is cancelled then" in text
    assert "17:00 UTC" in text
    clock.move(minutes=20)
    assert ladder.climb(organization) == 1


def test_a_lowered_limit_pauses_all_that_runs_a_quarter_of_an_hour_later(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 100)
    first, second = settle(launch(lab)), settle(launch(lab))
    clock.move(hours=2)
    services_budgets.update_budget(actor=_owner(organization), budget=budget, limit=Decimal(3))
    ladder.climb(organization)
    told = BudgetNotice.objects.filter(step="PAUSE").values_list("acts_at", flat=True)
    assert list(told) == [clock.at + timedelta(minutes=15)] * 2
    clock.move(minutes=14)
    assert ladder.climb(organization) == 0
    clock.move(minutes=1)
    assert ladder.climb(organization) == 2
    assert {row.target for row in Cluster.objects.filter(pk__in=[first.pk, second.pk])} == {"PAUSED"}


def test_a_limit_that_still_lasts_for_a_while_pauses_nothing_yet(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 100)
    settle(launch(lab))
    clock.move(hours=1)
    services_budgets.update_budget(actor=_owner(organization), budget=budget, limit=Decimal(3))
    ladder.climb(organization)
    assert not BudgetNotice.objects.filter(step="PAUSE").exists()
    pass_time(organization, clock, START + timedelta(hours=3))
    assert Cluster.objects.get().target == "PAUSED"
    assert figures(budget, clock) == (3, 0)


@pytest.mark.parametrize("way", ["raised", "lifted", "extra", "removed", "pauses nothing"])
def test_whoever_gives_more_takes_the_pause_back(
    way: str, organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 8)
    cluster = settle(launch(lab))
    clock.move(hours=7, minutes=45)
    ladder.climb(organization)
    assert BudgetNotice.objects.filter(step="PAUSE", withdrawn_at=None).count() == 1
    by: dict[str, Any] = {"actor": _owner(organization), "budget": budget}
    match way:
        case "raised":
            services_budgets.update_budget(**by, limit=Decimal(20))
        case "lifted":
            services_budgets.lift_budget(**by, extra=None, reason="Quarter end")
        case "extra":
            services_budgets.lift_budget(**by, extra=Decimal(2), reason="Quarter end")
        case "removed":
            services_budgets.delete_budget(**by)
        case _:
            services_budgets.update_budget(**by, pauses=False)
    clock.move(minutes=15)
    assert ladder.climb(organization) == 0
    clock.move(minutes=15)
    assert ladder.climb(organization) == 0
    assert Cluster.objects.get(pk=cluster.pk).target == "RUNNING"
    assert not BudgetNotice.objects.filter(step="PAUSE", withdrawn_at=None).exists()


def test_a_lift_that_is_ended_by_hand_holds_no_more(organization: Organization, lab: Workspace, clock: Clock) -> None:
    budget = make_budget(organization, 1)
    by: dict[str, Any] = {"actor": _owner(organization), "budget": budget}
    services_budgets.lift_budget(**by, extra=Decimal(7), reason="Quarter end")
    settle(launch(lab))
    with pytest.raises(UserError, match="LiftedAlready"):
        services_budgets.lift_budget(**by, extra=None, reason="More")
    services_budgets.end_lift(**by)
    with pytest.raises(UserError, match="NotLifted"):
        services_budgets.end_lift(**by)
    with pytest.raises(UserError, match="BudgetExceeded"):
        launch(lab, max_lifetime_minutes=1)
    clock.move(hours=1)
    ladder.climb(organization)
    clock.move(minutes=15)
    assert ladder.climb(organization) == 1


def test_a_lift_is_over_with_the_month(organization: Organization, lab: Workspace, clock: Clock) -> None:
    budget = make_budget(organization, 1)
    services_budgets.lift_budget(actor=_owner(organization), budget=budget, extra=None, reason="Quarter end")
    launch(lab)
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    with pytest.raises(UserError, match="BudgetExceeded"):
        launch(lab)


def test_at_the_turn_of_the_month_what_has_room_goes_on(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 6)
    clock.at = datetime(2026, 11, 30, 20, 0, tzinfo=UTC)
    settle(launch(lab, instances=1))
    pass_time(organization, clock, datetime(2026, 12, 1, 5, 30, tzinfo=UTC))
    assert Cluster.objects.get().target == "RUNNING"
    assert figures(budget, clock)[0] == Decimal("5.5")
    pass_time(organization, clock, datetime(2026, 12, 1, 6, 0, tzinfo=UTC))
    assert Cluster.objects.get().target == "PAUSED"


def test_at_the_turn_of_the_month_what_has_none_is_paused_in_time(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    make_budget(organization, 8)
    clock.at = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)
    settle(launch(lab, instances=8))
    services_budgets.update_budget(
        actor=_owner(organization), budget=Budget.objects.get(), limit=Decimal("7.99"), warn_percent=100
    )
    pass_time(organization, clock, datetime(2026, 11, 30, 23, 59, tzinfo=UTC), minutes=1)
    assert SpendHold.objects.active().exists()
    pass_time(organization, clock, datetime(2026, 12, 1, 0, 0, tzinfo=UTC), minutes=1)
    assert Cluster.objects.get().target == "PAUSED"


def test_one_that_is_still_deployed_is_paused_when_it_runs(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    make_budget(organization, 100)
    running, coming = settle(launch(lab)), launch(lab)
    clock.move(hours=2)
    Budget.objects.update(limit=1)
    ladder.climb(organization)
    clock.move(minutes=15)
    assert ladder.climb(organization) == 1
    settle(coming)
    clock.move(minutes=16)
    ladder.climb(organization)
    clock.move(minutes=16)
    ladder.climb(organization)
    assert {row.target for row in Cluster.objects.filter(pk__in=[running.pk, coming.pk])} == {"PAUSED"}


def test_a_raised_limit_warns_again_at_its_own_threshold(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 10, pauses=False)
    settle(launch(lab))
    clock.move(hours=9)
    ladder.climb(organization)
    services_budgets.update_budget(actor=_owner(organization), budget=budget, limit=Decimal(20))
    clock.move(hours=1)
    ladder.climb(organization)
    assert len(subjects()) == 1
    clock.move(hours=6)
    ladder.climb(organization)
    clock.move(hours=4)
    ladder.climb(organization)
    assert subjects()[1:] == [
        "80 % of the budget of the organization Acme is spent",
        "The budget of the organization Acme is spent",
    ]


def test_without_pauses_clusters_go_on(organization: Organization, lab: Workspace, clock: Clock) -> None:
    make_budget(organization, 8, pauses=False)
    cluster = settle(launch(lab))
    pass_time(organization, clock, START + timedelta(hours=20), minutes=30)
    assert Cluster.objects.get().target == "RUNNING"
    assert hold_of(cluster).until is not None
    with pytest.raises(UserError, match="BudgetExceeded"):
        launch(lab)


def _owner(organization: Organization) -> Any:
    return actor(organization.memberships.get(role="OWNER").user)
