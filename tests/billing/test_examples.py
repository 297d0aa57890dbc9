"""The examples in docs/billing.md are true."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing import metering
from billing.models import Rate, UsageDay, UsageInterval
from billing.usage import cost, minutes_between
from clusters.models import Transition
from tests.billing.examples import PAGE, examples, sections
from tests.factories import make_cluster, make_organization, make_user, make_workspace

SECTIONS = ("When it begins and ends", "How it is counted", "What it costs")
TESTED_ELSEWHERE = {
    "Templates": "test_examples_statements",
    "Statements": "test_examples_statements",
    "AWS Marketplace": "test_examples_marketplace",
    "Idle clusters": "test_examples_idle",
    "Saved": "test_examples_idle",
    "Budgets": "test_examples_budgets",
    "Maximum lifetime": "test_examples_budgets",
}
"""Other sections with examples, and the test that reads them."""

TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
LINE = re.compile(rf"{TIME} (asked|became|scaled) ([A-Z]+)(?: (\d+) × (\S+))?")
CHARGED = re.compile(rf"charged {TIME} to {TIME}: (\d+) min × (\d+) × ([\d.]+) = ([\d.]+)")
RATE = re.compile(rf"rate (\S+) ([\d.]+) from {TIME}")
DAY = re.compile(r"on (\d{4}-\d\d-\d\d): (\d+) min")
KINDS = {"asked": "REQUEST", "became": "STATUS", "scaled": "SCALED"}


@dataclass
class Example:
    """What the ledger says, and what the page says is charged for it."""

    title: str
    ledger: list[re.Match[str]] = field(default_factory=list)
    charged: list[str] = field(default_factory=list)
    days: dict[date, int] = field(default_factory=dict)


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def read() -> tuple[list[re.Match[str]], list[Example]]:
    """The rates and the examples of the page. A line that nobody understands is an error."""
    rates = [found for found in map(RATE.fullmatch, (line.strip() for line in PAGE.read_text().splitlines())) if found]
    found: list[Example] = []
    for told in examples(*SECTIONS):
        example = Example(told.rule)
        found.append(example)
        for text in told.lines:
            if entry := LINE.fullmatch(text):
                example.ledger.append(entry)
            elif day := DAY.fullmatch(text):
                example.days[date.fromisoformat(day[1])] = int(day[2])
            else:
                assert CHARGED.fullmatch(text), text
                example.charged.append(text)
    return rates, found


RATES, EXAMPLES = read()


def test_every_section_is_read_by_a_test() -> None:
    assert sorted(sections()) == sorted([*SECTIONS, *TESTED_ELSEWHERE])


def test_the_page_has_an_example_for_each_rule() -> None:
    assert len(RATES) == 3
    assert len(EXAMPLES) == 10
    assert all(example.ledger for example in EXAMPLES)
    assert [example.title for example in EXAMPLES if not example.charged] == ["A creation that fails costs nothing."]


@pytest.mark.django_db
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_what_the_page_says_is_charged(example: Example) -> None:
    Rate.objects.all().delete()
    for rate in RATES:
        values = {"provider": "LOCAL", "instance_type": rate[1]}
        Rate.objects.filter(**values, valid_to=None).update(valid_to=at(rate[3]))
        Rate.objects.create(**values, hourly=Decimal(rate[2]), valid_from=at(rate[3]))
    cluster = make_cluster(make_workspace(make_organization(make_user())), ledger_length=len(example.ledger))
    for seq, line in enumerate(example.ledger, 1):
        Transition.objects.create(
            cluster=cluster,
            seq=seq,
            at=at(line[1]),
            kind=KINDS[line[2]],
            status=line[3],
            instances=int(line[4] or 0),
            instance_type=line[5] or "local.4x",
        )
    metering.rebuild([cluster.pk])
    assert [said(row) for row in UsageInterval.objects.order_by("started_at")] == example.charged
    if example.days:
        assert dict(UsageDay.objects.values_list("day", "minutes")) == example.days


def said(row: UsageInterval) -> str:
    """An interval as the page has it."""
    assert row.ended_at is not None
    minutes = minutes_between(row.started_at, row.ended_at)
    price = cost(minutes, row.instances, row.hourly)
    span = f"{row.started_at:%Y-%m-%d %H:%M:%S} to {row.ended_at:%Y-%m-%d %H:%M:%S}"
    return f"charged {span}: {minutes} min × {row.instances} × {row.hourly:.2f} = {price:.4f}"
