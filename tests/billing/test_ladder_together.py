"""Several schedulers, some of which are killed: people are told once, and a cluster is paused once."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest

from accounts.models import AuditEvent
from billing import ladder
from billing.models import Budget, BudgetNotice, Rate
from clusters.models import Cluster
from portal.models import OutgoingMail
from tests.billing.money import dollar_rate, launch, make_budget, settle
from tests.factories import make_organization, make_user, make_workspace
from tests.fakes import Clock
from tests.kills.dying import killed_at
from tests.together import together

pytestmark = pytest.mark.django_db(transaction=True)


def test_whatever_dies_people_are_told_once_and_clusters_are_paused_once(transactional_db: None, clock: Clock) -> None:
    clock.at = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)
    Rate.objects.all().delete()
    dollar_rate(clock)
    organization = make_organization(make_user())
    make_budget(organization, 100)
    settle(launch(make_workspace(organization)))
    Budget.objects.update(limit=3)
    climb = partial(ladder.climb, organization)
    clock.move(hours=3)
    deaths = []
    for number in range(1, 40):
        effect = killed_at(number, climb, files=False)
        assert not [answer for answer in together(climb, climb, climb) if isinstance(answer, Exception)]
        told = sorted(BudgetNotice.objects.values_list("step", flat=True))
        assert told == ["PAUSE", "WARN"], effect
        assert OutgoingMail.objects.count() == 2, effect
        assert AuditEvent.objects.filter(verb__in=["budget.warn", "budget.announce"]).count() == 2 * number
        if not effect:
            break
        deaths.append(effect)
        BudgetNotice.objects.all().delete()
        OutgoingMail.objects.all().delete()
    assert "COMMIT" in deaths
    clock.move(minutes=15)
    for number in range(1, 40):
        if not killed_at(number, climb, files=False):
            break
        together(climb, climb)
        assert Cluster.objects.get().target == "PAUSED"
        assert AuditEvent.objects.filter(verb="cluster.pause").count() == 1
