"""Whatever is launched, paused, scaled and awaited: no launch passes a limit, and the figures are those of a count by
hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from billing import holds, metering
from billing.budgets import binds, month_of, standings
from billing.models import Budget, SpendHold
from billing.usage import cost, intervals, minutes_between, minutes_within
from clusters import services
from clusters.models import Cluster, Transition
from portal.errors import UserError
from tests.billing.money import ask, deploying, dollar_rate, launch, make_budget, settle
from tests.factories import actor, make_organization, make_user, make_workspace
from tests.fakes import Clock
from workspaces.models import Workspace

AHEAD = timedelta(minutes=20)
START = datetime(2026, 11, 30, 20, 0, tzinfo=UTC)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["launch", "pause", "resume", "restart", "scale", "settle", "deploying", "wait", "wait", "meter"]
        ),
        st.integers(0, 5),
        st.sampled_from([0, 1, 29, 30, 31, 60, 600, 3600, 7230, 4 * 3600]),
    ),
    min_size=5,
    max_size=25,
)


class World:
    """Two workspaces, two people, and a budget for each of them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        owner = make_user()
        self.organization = make_organization(owner)
        self.places: list[Workspace] = [make_workspace(self.organization) for _ in range(2)]
        self.people: list[User] = [owner, make_user("bob")]
        make_budget(self.organization, 40)
        make_budget(self.organization, 25, workspace=self.places[0])
        make_budget(self.organization, 15, user=self.people[1], reserve_hours=3)
        self.numbers = itertools.count()

    def step(self, name: str, which: int, seconds: int) -> bool:
        """Do something; True if it was a launch that was allowed."""
        if name == "wait":
            self.clock.move(seconds=seconds)
            self.keep()
            return False
        if name == "meter":
            metering.meter()
            return False
        if name == "launch":
            fields: dict[str, Any] = {"instances": which + 1, "max_lifetime_minutes": seconds // 60 * 2}
            place, person = self.places[which % 2], self.people[which // 2 % 2]
            return allowed(lambda: launch(place, person, name=f"c{next(self.numbers)}", **fields))
        clusters = list(Cluster.objects.order_by("number"))
        if not clusters:
            return False
        cluster = clusters[which % len(clusters)]
        if name in {"settle", "deploying"}:
            if name == "settle" or cluster.status in {"NEW", "INPROGRESS"}:
                (settle if name == "settle" else deploying)(cluster)
            return False
        if name == "scale":
            size = 1 + seconds % 5
            return allowed(lambda: services.scale_cluster(actor=actor(), cluster=cluster, instances=size))
        return allowed(lambda: ask(cluster, name)) and name != "pause"

    def keep(self) -> None:
        """What the scheduler does: renew, and pause what has run out."""
        for hold in SpendHold.objects.active().exclude(until=None).select_related("cluster"):
            holds.renew(hold, AHEAD)
            hold.refresh_from_db()
            if hold.until and hold.until <= self.clock.at:
                allowed(lambda hold=hold: ask(hold.cluster, "pause"))  # type: ignore[misc]

    def by_hand(self, budget: Budget) -> tuple[Decimal, Decimal]:
        """Spent and held in this month, from the ledgers and the holds alone."""
        now, month = self.clock.at, month_of(self.clock.at)
        spent = held = Decimal(0)
        for cluster in Cluster.objects.all():
            if binds(budget, cluster.workspace_id, cluster.created_by_id):
                for row in intervals(Transition.objects.filter(cluster=cluster).order_by("seq")):
                    end = row.ended_at or max(now, row.started_at)
                    spent += cost(
                        minutes_within(row.started_at, end, month.start, month.end), row.instances, Decimal(1)
                    )
        for hold in SpendHold.objects.of(budget).active():
            if hold.began_at is None or hold.until is None:
                left = min(hold.minutes, minutes_between(now, month.end))
                held += cost(left, hold.instances, Decimal(1))
            else:
                held += cost(
                    minutes_within(hold.began_at, hold.until, max(now, month.start), month.end),
                    hold.instances,
                    Decimal(1),
                )
        return spent, held


def allowed(call: Callable[[], object]) -> bool:
    try:
        with transaction.atomic():
            call()
    except UserError:
        return False
    return True


@pytest.mark.django_db
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_no_launch_passes_a_limit(clock: Clock, steps: list[tuple[str, int, int]]) -> None:
    with transaction.atomic():
        clock.at = START
        dollar_rate(clock)
        world = World(clock)
        before: dict[Any, Decimal] = {}
        for step in steps:
            launched = world.step(*step)
            budgets = list(Budget.objects.in_organization(world.organization))
            found = standings(budgets, month_of(clock.at), clock.at)
            for budget in budgets:
                stands = found[budget.pk]
                # Sixtieths are added up in another order.
                found_and_counted = zip((stands.spent, stands.held), world.by_hand(budget), strict=True)
                assert all(round(one, 9) == round(other, 9) for one, other in found_and_counted), (step, budget)
                assert stands.left is not None
                if launched and stands.left < before.get(budget.pk, Decimal(0)):
                    assert stands.left >= 0, (step, budget)
                before[budget.pk] = stands.left
        transaction.set_rollback(True)
