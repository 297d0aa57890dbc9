"""The examples of budgets and maximum lifetimes in docs/billing.md are true."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts import audit
from accounts.models import User
from billing import ladder, services_budgets
from billing.models import Budget, BudgetNotice, Rate
from clusters import lifetimes
from clusters.models import Cluster
from portal.errors import UserError
from tests.billing.examples import Example, examples
from tests.billing.money import ask, figures, launch, make_budget, settle
from tests.factories import actor, make_organization, make_user, make_workspace
from tests.fakes import Clock

EXAMPLES = examples("Budgets", "Maximum lifetime")
STEP = timedelta(minutes=5)
"""Between two looks of the scheduler; the examples are at such times."""

RATES = (("2026-01-01", "2026-12-01", "0.24"), ("2026-12-01", None, "0.30"))
ACTIONS = {"PAUSED": "pause", "RUNNING": "resume", "RESTART": "restart"}


class Scene:
    """What an example is about: an organization of one owner, whose clusters obey at once when the page says so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.alice: User = make_user("alice")
        self.organization = make_organization(self.alice)
        self.lab = make_workspace(self.organization)
        self.budget: Budget | None = None
        for first, last, hourly in RATES:
            values = {"provider": "LOCAL", "instance_type": "local.4x", "hourly": Decimal(hourly)}
            Rate.objects.create(valid_from=at(first), valid_to=last and at(last), **values)

    def go(self, until: datetime, *, first: bool) -> None:
        """The scheduler at work."""
        step = STEP if until - self.clock.at < timedelta(days=1) else until - self.clock.at
        while not first and self.clock.at < until:
            self.clock.at = min(until, self.clock.at + step)
            ladder.climb(self.organization)
            lifetimes.end_lifetimes()
        self.clock.at = until

    @property
    def own(self) -> dict[str, Any]:
        return {"actor": actor(self.alice), "budget": self.budget}

    @property
    def cluster(self) -> Cluster:
        return Cluster.objects.order_by("number")[0]

    def launch(self, found: re.Match[str]) -> None:
        by = audit.system("schedule nightly") if found["schedule"] else self.alice
        fields = {"instances": int(found["instances"]), "instance_type": found["type"]}
        launch(self.lab, by, max_lifetime_minutes=int(found["minutes"] or 0), **fields)

    def refused(self, found: re.Match[str]) -> None:
        with pytest.raises(UserError, match="BudgetExceeded"):
            self.launch(found)

    def runs(self, found: re.Match[str]) -> None:
        settle(self.cluster)

    def asked(self, found: re.Match[str]) -> None:
        ask(self.cluster, ACTIONS[found["what"]])

    def stands(self, found: re.Match[str]) -> None:
        assert self.budget
        assert figures(self.budget, self.clock) == (Decimal(found["spent"]), Decimal(found["held"]))

    def limit(self, found: re.Match[str]) -> None:
        services_budgets.update_budget(**self.own, limit=Decimal(found["limit"]))

    def lift(self, found: re.Match[str]) -> None:
        extra = Decimal(found["extra"]) if found["extra"] else None
        services_budgets.lift_budget(**self.own, extra=extra, reason="Quarter end")

    def end_lift(self, found: re.Match[str]) -> None:
        services_budgets.end_lift(**self.own)

    def told(self, found: re.Match[str]) -> None:
        notice = BudgetNotice.objects.get(step="WARN" if found["percent"] else "PAUSE")
        assert notice.created_at == self.clock.at
        if notice.acts_at:
            assert f"{notice.acts_at:%H:%M}" == found["pause"]
        else:
            assert notice.budget.warn_percent == int(found["percent"])

    def rests(self, found: re.Match[str]) -> None:
        assert self.cluster.target == found["state"].upper()
        last = self.cluster.transitions.filter(kind="REQUEST").order_by("-seq")[0]
        assert last.at == self.clock.at
        settle(self.cluster)


SIZE = r"(?P<instances>\d+) × (?P<type>\S+)(?: for (?P<minutes>\d+) min)?(?P<schedule> by a schedule)?"
LINES: dict[str, Callable[[Scene, re.Match[str]], None]] = {
    f"launched {SIZE}": Scene.launch,
    f"refused {SIZE}": Scene.refused,
    "runs": Scene.runs,
    r"asked (?P<what>[A-Z]+)": Scene.asked,
    r"spent (?P<spent>[\d.]+), set aside (?P<held>[\d.]+)": Scene.stands,
    r"limit (?P<limit>[\d.]+)": Scene.limit,
    r"lifted(?: by (?P<extra>[\d.]+))?": Scene.lift,
    "lift ended": Scene.end_lift,
    r"told that (?:(?P<percent>\d+) % are spent|it is paused at (?P<pause>[\d:]+))": Scene.told,
    r"(?P<state>paused|stopped)": Scene.rests,
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_each_rule_has_an_example() -> None:
    assert len(EXAMPLES) == 9


@pytest.mark.django_db
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_what_the_page_says_of_budgets(example: Example, clock: Clock) -> None:
    Rate.objects.all().delete()
    scene = Scene(clock)
    lines = list(example.lines)
    if found := re.fullmatch(r"budget ([\d.]+) of (the organization|the workspace|a person)", lines[0]):
        scopes: dict[str, dict[str, Any]] = {
            "the organization": {},
            "the workspace": {"workspace": scene.lab},
            "a person": {"user": scene.alice},
        }
        scene.budget = make_budget(scene.organization, found[1], **scopes[found[2]])
        lines = lines[1:]
    for number, line in enumerate(lines):
        time, text = line[:19], line[20:]
        scene.go(at(time), first=number == 0)
        done = [do(scene, match) for pattern, do in LINES.items() if (match := re.fullmatch(pattern, text))]
        assert len(done) == 1, text
