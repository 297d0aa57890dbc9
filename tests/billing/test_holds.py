"""What is set aside at launches, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts import audit
from accounts.models import AuditEvent, Organization, User
from billing import holds, metering
from billing.models import Budget, MeteredCluster, SpendHold
from billing.months import Month
from clusters import reconcile, services
from clusters.models import Cluster, Transition
from portal.clouds.base import CloudError
from portal.errors import UserError
from tests.billing.money import (
    ask,
    deploying,
    dollar_rate,
    figures,
    hold_of,
    launch,
    make_budget,
    settle,
    standing,
)
from tests.factories import actor, make_organization, make_user, make_workspace
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


def refused(call: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.code == "BudgetExceeded"
    return caught.value


def test_a_launch_sets_aside_its_maximum_lifetime(organization: Organization, lab: Workspace, clock: Clock) -> None:
    budget = make_budget(organization, 100)
    launch(lab, instances=3, max_lifetime_minutes=90)
    assert figures(budget, clock) == (0, Decimal("4.50"))


def test_one_without_a_maximum_sets_aside_the_longest_of_its_budgets_hours(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 100)
    launch(lab)
    assert figures(budget, clock) == (0, 8)
    make_budget(organization, 100, workspace=lab, reserve_hours=10)
    launch(lab)
    assert figures(budget, clock) == (0, 18)


def test_what_has_no_room_is_refused_and_nothing_is_written(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 20)
    launch(lab, instances=2)
    events = AuditEvent.objects.count()
    error = refused(lambda: launch(lab, instances=1, max_lifetime_minutes=241))
    assert error.message == (
        "The budget of the organization Acme for November 2026 has no room for this. Of 20.00 USD, 0.00 are spent and "
        "16.00 are set aside for clusters that run; 1 × local.1x for 4 h 1 min would need 4.02."
    )
    assert "maximum lifetime" in error.hint
    assert (Cluster.objects.count(), SpendHold.objects.count(), AuditEvent.objects.count()) == (1, 1, events)
    launch(lab, instances=1, max_lifetime_minutes=240)
    assert figures(budget, clock) == (0, 20), "all of it may be set aside"


def test_time_turns_what_is_set_aside_into_what_is_spent(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 100)
    cluster = launch(lab, instances=2, max_lifetime_minutes=120)
    clock.move(minutes=20)
    deploying(cluster)
    assert figures(budget, clock) == (0, 4), "deploying costs nothing and its time is still to come"
    settle(cluster)
    for seconds in (0, 29, 30, 31, 89, 90, 600, 3599, 7199, 7200, 9000):
        clock.at = START + timedelta(minutes=20, seconds=seconds)
        spent, held = figures(budget, clock)
        if seconds <= 7200:
            assert spent + held == 4
        else:
            assert held == 0
        before = standing(budget, clock)
        metering.meter()
        assert standing(budget, clock) == before, "whether the bill has it already makes no difference"
    ask(cluster, "pause")
    assert figures(budget, clock) == (5, 0)


@pytest.mark.parametrize("metered", [True, False])
@pytest.mark.parametrize("way", ["pause", "stop", "delete", "fail"])
def test_what_ends_releases_the_rest(
    way: str, metered: bool, organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 100)
    cluster = settle(launch(lab, max_lifetime_minutes=120))
    clock.move(minutes=30)
    if way == "fail":
        row = Cluster.objects.get(pk=cluster.pk)
        reconcile.ClusterMachine().fail(row, CloudError("NodeLost", "It is gone."))
        row.save()
    else:
        ask(cluster, way)
    if metered:
        metering.meter()
    assert figures(budget, clock) == (Decimal("0.50"), 0)
    hold = SpendHold.objects.get()
    assert hold.released_at == clock.at
    assert (
        hold.released_why
        == {
            "pause": "asked to become PAUSED",
            "stop": "asked to become STOPPED",
            "delete": "asked to become TERMINATED",
            "fail": "failed",
        }[way]
    )


def test_a_creation_that_is_taken_back_sets_nothing_aside(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 8)
    cluster = launch(lab)
    ask(cluster, "delete")
    assert figures(budget, clock) == (0, 0)
    launch(lab)


def test_a_resume_sets_aside_again_and_a_restart_what_is_left(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 10)
    cluster = settle(launch(lab))
    clock.move(hours=5)
    ask(cluster, "restart")
    assert figures(budget, clock) == (5, 3)
    settle(cluster)
    clock.move(hours=1)
    ask(cluster, "pause")
    settle(cluster)
    refused(lambda: ask(cluster, "resume"))
    assert Cluster.objects.get().target == "PAUSED"
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=240)
    ask(cluster, "resume")
    assert figures(budget, clock) == (6, 4)


def test_more_instances_need_room_for_what_is_left_of_the_life(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 10)
    cluster = settle(launch(lab, max_lifetime_minutes=300))
    clock.move(hours=3)
    refused(lambda: services.scale_cluster(actor=actor(), cluster=cluster, instances=4))
    assert Cluster.objects.get().instances == 1
    services.scale_cluster(actor=actor(), cluster=cluster, instances=3)
    assert figures(budget, clock) == (3, 6)
    clock.move(minutes=6)
    assert figures(budget, clock) == (Decimal("3.1"), Decimal("5.7")), "until they are there, they cost nothing"
    settle(cluster)
    clock.move(minutes=54)
    assert figures(budget, clock) == (Decimal("5.8"), 3)
    services.scale_cluster(actor=actor(), cluster=cluster, instances=1)
    assert figures(budget, clock) == (Decimal("5.8"), 3), "until they are gone, they cost something"
    settle(cluster)
    assert figures(budget, clock) == (Decimal("5.8"), 1)


def test_more_instances_that_never_come_are_given_back(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 10)
    cluster = settle(launch(lab, max_lifetime_minutes=60))
    services.scale_cluster(actor=actor(), cluster=cluster, instances=9)
    row = Cluster.objects.get()
    reconcile.ClusterMachine().fail(row, CloudError("InsufficientCapacity", "No machines."))
    row.save()
    settle(cluster)
    assert figures(budget, clock) == (0, 1)


def test_a_longer_life_needs_room_and_a_shorter_one_gives_it_back(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 5)
    cluster = settle(launch(lab, max_lifetime_minutes=120))
    clock.move(hours=1)
    refused(lambda: services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=301))
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=300)
    assert figures(budget, clock) == (1, 4)
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=90)
    assert figures(budget, clock) == (1, Decimal("0.5"))


def test_what_sets_aside_no_more_is_never_refused(organization: Organization, lab: Workspace, clock: Clock) -> None:
    """Also where the limit was lowered below what is promised."""
    budget = make_budget(organization, 100)
    cluster = settle(launch(lab, max_lifetime_minutes=240))
    Budget.objects.update(limit=1)
    ask(cluster, "restart")
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=200)
    refused(lambda: services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=210))
    assert standing(budget, clock).left is not None


# --- whose budget ---------------------------------------------------------------------------------------------------


def test_all_budgets_that_bind_are_asked(organization: Organization, lab: Workspace, clock: Clock) -> None:
    bob = make_user("bob")
    annex = make_workspace(organization, name="Annex")
    whole = make_budget(organization, 30)
    of_lab, of_bob = make_budget(organization, 20, workspace=lab), make_budget(organization, 10, user=bob)
    launch(lab, bob)
    assert "The budget of Bob Example for" in refused(lambda: launch(annex, bob)).message
    launch(lab, None)
    assert "The budget of the workspace Lab for" in refused(lambda: launch(lab, None)).message
    launch(annex, make_user("carol"))
    assert "The budget of the organization Acme for" in refused(lambda: launch(annex, None)).message
    assert [figures(each, clock) for each in (whole, of_lab, of_bob)] == [(0, 24), (0, 16), (0, 8)]


def test_a_cluster_is_charged_to_who_made_it_whoever_resumes_it(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    of_alice, of_bob = make_budget(organization, 10, user=alice), make_budget(organization, 1, user=bob)
    cluster = settle(launch(lab, alice))
    clock.move(hours=1)
    ask(cluster, "pause")
    settle(cluster)
    services.update_cluster(actor=actor(), cluster=cluster, max_lifetime_minutes=120)
    ask(cluster, "resume", bob)
    assert figures(of_alice, clock) == (1, 2)
    assert figures(of_bob, clock) == (0, 0)


def test_clusters_of_scheduled_runs_are_charged_to_nobody_in_particular(
    organization: Organization, lab: Workspace, clock: Clock, alice: User
) -> None:
    whole, mine = make_budget(organization, 10), make_budget(organization, 10, user=alice)
    launch(lab, audit.system("schedule nightly"))
    assert figures(whole, clock) == (0, 8)
    assert figures(mine, clock) == (0, 0)


def test_other_organizations_have_nothing_to_do_with_it(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 8)
    stranger = make_workspace(make_organization(make_user("carol")))
    settle(launch(stranger, instances=50))
    assert not SpendHold.objects.exists()
    clock.move(hours=1)
    assert figures(budget, clock) == (0, 0)
    launch(lab)


# --- months ---------------------------------------------------------------------------------------------------------


def test_a_hold_ends_with_the_month(organization: Organization, lab: Workspace, clock: Clock) -> None:
    budget = make_budget(organization, 3)
    clock.at = datetime(2026, 11, 30, 21, 0, tzinfo=UTC)
    cluster = launch(lab)
    assert figures(budget, clock) == (0, 3)
    clock.move(minutes=30)
    assert figures(budget, clock) == (0, Decimal("2.5")), "however long the machines take, the month has an end"
    settle(cluster)
    assert hold_of(cluster).until == Month(START.date().replace(day=1)).end
    clock.at = datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
    assert figures(budget, clock) == (Decimal("0.5"), 0)


def test_the_next_month_begins_with_nothing_spent(organization: Organization, lab: Workspace, clock: Clock) -> None:
    make_budget(organization, 8)
    cluster = settle(launch(lab))
    clock.move(hours=8)
    ask(cluster, "pause")
    settle(cluster)
    refused(lambda: ask(cluster, "resume"))
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    ask(cluster, "resume")


AHEAD = timedelta(minutes=20)


def test_a_hold_is_renewed_hour_by_hour_while_there_is_room(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 10)
    cluster = settle(launch(lab))
    first = hold_of(cluster).until
    assert first is not None
    for hour in (1, 2):
        clock.at = first + timedelta(hours=hour - 1, minutes=-20, microseconds=-1)
        assert holds.renew(hold_of(cluster), AHEAD) == []
        assert hold_of(cluster).until == first + timedelta(hours=hour - 1)
        clock.move(microseconds=1)
        assert holds.renew(hold_of(cluster), AHEAD) == []
        assert hold_of(cluster).until == first + timedelta(hours=hour)
        assert standing(budget, clock).left == 2 - hour
    clock.at = first + timedelta(hours=2)
    assert holds.renew(hold_of(cluster), AHEAD) == [budget]
    assert figures(budget, clock) == (10, 0)


def test_a_budget_that_pauses_nothing_does_not_hold_up_a_renewal(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    make_budget(organization, 8, pauses=False)
    cluster = settle(launch(lab))
    clock.move(hours=8)
    assert holds.renew(hold_of(cluster), AHEAD) == []
    assert hold_of(cluster).until == clock.at + timedelta(hours=1)


def test_before_the_months_end_the_next_month_is_asked(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    budget = make_budget(organization, 8)
    clock.at = datetime(2026, 11, 30, 16, 0, tzinfo=UTC)
    plain, limited = settle(launch(lab, max_lifetime_minutes=0, instances=1)), None
    clock.at = datetime(2026, 11, 30, 23, 50, tzinfo=UTC)
    assert holds.renew(hold_of(plain), AHEAD) == []
    assert hold_of(plain).until == datetime(2026, 12, 1, 1, 0, tzinfo=UTC)
    ask(plain, "delete")
    clock.at = datetime(2026, 12, 31, 20, 0, tzinfo=UTC)
    limited = settle(launch(lab, max_lifetime_minutes=10 * 60, name="limited"))
    clock.at = datetime(2026, 12, 31, 23, 50, tzinfo=UTC)
    assert holds.renew(hold_of(limited), AHEAD) == []
    assert hold_of(limited).until == datetime(2027, 1, 1, 6, 0, tzinfo=UTC), "the rest of its life at once"
    assert standing(budget, clock).month.first.month == 12
    refused(lambda: launch_next(lab, clock))
    assert holds.renew(hold_of(limited), AHEAD) == []


def launch_next(lab: Workspace, clock: Clock) -> None:
    """In the new month, of whose 8 dollars 6 are promised to what ran over the turn."""
    clock.at = datetime(2027, 1, 1, 0, 0, tzinfo=UTC)
    launch(lab, max_lifetime_minutes=121)


# --- what is derived ------------------------------------------------------------------------------------------------


def test_clusters_that_ran_before_their_budget_get_holds(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    running, deploying_ = settle(launch(lab, max_lifetime_minutes=600)), launch(lab, instances=2)
    resting = settle(launch(lab))
    ask(resting, "pause")
    assert not SpendHold.objects.exists()
    budget = make_budget(organization, 5)
    clock.move(hours=1)
    assert holds.repair(organization) == 2
    assert holds.repair(organization) == 0
    metering.meter()
    assert figures(budget, clock) == (1, 9 + 16)
    assert hold_of(running).until == START + timedelta(hours=10)
    assert hold_of(deploying_).until is None


def test_holds_that_nothing_asks_for_are_released(organization: Organization, lab: Workspace, clock: Clock) -> None:
    budget = make_budget(organization, 100)
    cluster = settle(launch(lab))
    Cluster.objects.update(target="PAUSED")
    assert holds.repair(organization) == 1
    Cluster.objects.update(target="RUNNING")
    assert holds.repair(organization) == 1
    SpendHold.objects.active().update(began_at=None, until=None)
    assert holds.repair(organization) == 1
    assert hold_of(cluster).until == clock.at + timedelta(hours=8)
    SpendHold.objects.active().update(instances=7)
    assert holds.repair(organization) == 1
    assert hold_of(cluster).instances == 1
    budget.delete()
    assert holds.repair(organization) == 1
    assert not SpendHold.objects.active().exists()
    assert holds.repair(organization) == 0


def test_holds_of_another_workspace_are_left_alone(organization: Organization, lab: Workspace, clock: Clock) -> None:
    make_budget(organization, 100, workspace=lab)
    annex = make_workspace(organization, name="Annex")
    settle(launch(annex))
    cluster = settle(launch(lab))
    assert holds.repair(organization) == 0
    assert SpendHold.objects.get().cluster == cluster


def test_what_was_released_is_marked_once_the_bill_has_it(
    organization: Organization, lab: Workspace, clock: Clock
) -> None:
    make_budget(organization, 100)
    cluster = settle(launch(lab))
    clock.move(hours=1)
    ask(cluster, "pause")
    holds.repair(organization)
    assert not SpendHold.objects.get().counted
    metering.meter()
    holds.repair(organization)
    assert SpendHold.objects.get().counted
    assert MeteredCluster.objects.get().ledger_length == Transition.objects.count()


# --- what it takes --------------------------------------------------------------------------------------------------


def test_without_a_budget_a_launch_asks_once(
    organization: Organization, lab: Workspace, clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cluster = Cluster.objects.select_related("workspace__cloud_configuration").get(pk=launch(lab).pk)
    with django_assert_num_queries(1):
        holds.reserve(actor(), cluster)


@pytest.mark.parametrize("number", [0, 30])
def test_with_budgets_it_asks_a_fixed_number_of_times(
    number: int,
    organization: Organization,
    lab: Workspace,
    clock: Clock,
    alice: User,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for each in range(number):
        settle(launch(make_workspace(organization), make_user(f"u{each}")))
    metering.meter()
    made = launch(lab, alice)
    for fields in ({}, {"workspace": lab}, {"user": alice}):
        make_budget(organization, 10_000, **fields)
    cluster = Cluster.objects.select_related("workspace__cloud_configuration").get(pk=made.pk)
    with django_assert_num_queries(10):
        holds.reserve(actor(), cluster)
