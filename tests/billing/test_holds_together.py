"""Budgets under real transactions: many launches at once, a process that is killed, two people in each other's way."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest
from django.utils import timezone

from accounts.models import Organization
from billing import holds
from billing.budgets import month_of, set_aside, standings
from billing.models import Budget, Rate, SpendHold
from clusters import services
from clusters.models import Cluster, Transition
from portal.errors import UserError
from tests.billing.money import ask, launch, make_budget, settle
from tests.factories import actor, make_cluster, make_organization, make_user, make_workspace
from tests.kills.dying import killed_at
from tests.together import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def organization(transactional_db: None) -> Organization:
    Rate.objects.all().delete()  # what tests cost then: ten cents for each instance and hour
    return make_organization(make_user(), name="Acme")


def held(organization: Organization) -> Decimal:
    now = timezone.now()
    return sum((set_aside(hold, month_of(now), now) for hold in SpendHold.objects.active()), Decimal(0))


def test_fifty_launches_at_once_never_pass_the_cap_together(organization: Organization) -> None:
    """In ten workspaces, whose own locks keep no two of them apart; each launch needs a dollar of the 17."""
    places = [make_workspace(organization) for _ in range(10)]
    people = [make_user(f"u{number}") for number in range(5)]
    whole = make_budget(organization, 17)
    for place in places:
        make_budget(organization, 2, workspace=place)
    for person in people:
        make_budget(organization, 6, user=person)
    answers = together(
        *(
            partial(
                launch,
                places[number % 10],
                people[number // 10],
                name=f"c{number}",
                instances=10,
                max_lifetime_minutes=60,
            )
            for number in range(50)
        )
    )
    launched = [answer for answer in answers if isinstance(answer, Cluster)]
    refused = [answer for answer in answers if isinstance(answer, UserError)]
    assert len(launched) + len(refused) == 50, [answer for answer in answers if answer not in launched + refused]
    assert {error.code for error in refused} == {"BudgetExceeded"}
    assert len(launched) == 17
    assert SpendHold.objects.count() == Cluster.objects.count() == Transition.objects.count() == 17
    now = timezone.now()
    for budget in Budget.objects.all():
        stands = standings([budget], month_of(now), now)[budget.pk]
        assert stands.left is not None
        assert stands.left >= 0
    assert held(organization) == whole.limit


def test_resumes_sizes_and_renewals_at_once_do_not_either(organization: Organization) -> None:
    rest = {"status": "PAUSED", "target": "PAUSED", "max_lifetime_minutes": 60, "instances": 10}
    paused = [make_cluster(make_workspace(organization), **rest) for _ in range(6)]
    running = [settle(launch(make_workspace(organization), max_lifetime_minutes=60)) for _ in range(6)]
    make_budget(organization, 6)
    assert holds.repair(organization) == 6
    calls = [partial(ask, row, "resume") for row in paused]
    calls += [partial(services.scale_cluster, actor=actor(), cluster=row, instances=10) for row in running]
    answers = together(*calls)
    assert {type(answer) for answer in answers} <= {type(None), UserError}, answers
    assert any(answers)
    now = timezone.now()
    (only,) = standings(list(Budget.objects.all()), month_of(now), now).values()
    assert only.left is not None
    assert 0 <= only.left < Decimal("0.9")


def test_a_launch_that_is_killed_sets_nothing_aside_or_all_of_it(organization: Organization) -> None:
    workspace = make_workspace(organization)
    budget = make_budget(organization, 100)
    for number in range(1, 60):
        effect = killed_at(number, partial(launch, workspace, name=f"c{number}"), inside=True, files=False)
        clusters = set(Cluster.objects.values_list("pk", flat=True))
        assert set(SpendHold.objects.active().values_list("cluster_id", flat=True)) == clusters
        assert set(Transition.objects.values_list("cluster_id", flat=True)) == clusters
        if not effect:
            break
    assert number > 4
    assert holds.repair(organization) == 0
    assert Budget.objects.get() == budget
