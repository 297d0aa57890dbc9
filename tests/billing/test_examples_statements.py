"""The examples of templates and statements in docs/billing.md are true."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial

import pytest

from accounts.models import Organization
from billing import metering
from billing.models import Rate, Statement, StatementLine, UsageDay
from billing.months import Month
from billing.statements import close
from billing.templates import TEMPLATE
from billing.totals import usage_of
from clusters.models import Cluster, Transition
from jobs.models import JobTemplate, Run, RunAttempt
from tests.billing.examples import Example, examples
from tests.billing.test_examples import KINDS, LINE, TIME, at
from tests.factories import make_cluster, make_organization, make_run, make_template, make_user, make_workspace

RATES = {"local.1x": Decimal("0.06"), "local.4x": Decimal("0.24")}
RAN = re.compile(rf"(\w+) ran {TIME} to {TIME}")
PART = re.compile(r"(.+): (\d+) min")
USED = re.compile(r"(\w+) used (\d+) min of (\S+) in (\d{4}-\d\d)")
RUNS = re.compile(rf"(\w+) runs from {TIME} until {TIME} on (\S+)")
CLOSED = re.compile(r"closed (\d{4}-\d\d): (.+)")
TOTAL = re.compile(r"total of (\d{4}-\d\d): ([\d.]+)")


@pytest.fixture
def organization(db: None) -> Organization:
    Rate.objects.all().delete()
    for kind, hourly in RATES.items():
        Rate.objects.create(provider="LOCAL", instance_type=kind, hourly=hourly, valid_from=at("2026-01-01 00:00:00"))
    return make_organization(make_user())


def add(cluster: Cluster, when: str, kind: str, status: str, instances: int, instance_type: str) -> None:
    cluster.ledger_length += 1
    cluster.save(update_fields=["ledger_length"])
    Transition.objects.create(
        cluster=cluster,
        seq=cluster.ledger_length,
        at=at(when),
        kind=kind,
        status=status,
        instances=instances,
        instance_type=instance_type,
    )


@pytest.mark.parametrize("example", examples("Templates"), ids=lambda example: example.rule)
def test_templates(example: Example, organization: Organization) -> None:
    place = make_workspace(organization)
    cluster = make_cluster(place)
    templates: dict[str, JobTemplate] = {}
    told: dict[str, int] = {}
    for text in example.lines:
        line, _, owner = text.partition(", made for a run of ")
        if entry := LINE.fullmatch(line):
            add(cluster, entry[1], KINDS[entry[2]], entry[3], int(entry[4] or 0), entry[5] or "local.1x")
            if owner:
                templates[owner] = make_template(place, name=owner)
                cluster.dedicated_to = make_run(cluster, template=templates[owner]).pk
                cluster.save()
        elif ran := RAN.fullmatch(text):
            template = templates.get(ran[1]) or make_template(place, name=ran[1])
            own = cluster.dedicated_to and Run.objects.get(pk=cluster.dedicated_to)
            run = own or make_run(cluster, template=template)
            RunAttempt.objects.create(run=run, number=1, started_at=at(ran[2]), ended_at=at(ran[3]))
        else:
            part = PART.fullmatch(text)
            assert part, text
            told[part[1]] = int(part[2])
    metering.meter()
    month = Month(date(2026, 11, 1))
    amounts = usage_of(organization, month.end).by_value(month.days(), TEMPLATE)
    names = dict(JobTemplate.objects.values_list("pk", "name"))
    assert {names.get(key, "in no run of a template"): amount.minutes for key, amount in amounts.items()} == told


@pytest.mark.parametrize("example", examples("Statements"), ids=lambda example: example.rule)
def test_statements(example: Example, organization: Organization) -> None:
    place = make_workspace(organization)
    clusters: dict[str, Cluster] = {}
    ends: list[Callable[[], None]] = []
    told: dict[str, list[str]] = {}
    totals: dict[str, str] = {}

    def cluster_of(name: str) -> Cluster:
        if name not in clusters:
            clusters[name] = make_cluster(place, name=name)
        return clusters[name]

    for text in example.lines:
        if used := USED.fullmatch(text):
            name, minutes, kind, month = used.groups()
            UsageDay.objects.update_or_create(
                organization=organization,
                workspace=place,
                cluster=cluster_of(name),
                day=date.fromisoformat(f"{month}-01"),
                instance_type=kind,
                hourly=RATES[kind],
                defaults={"minutes": int(minutes)},
            )
        elif runs := RUNS.fullmatch(text):
            name, start, end, kind = runs.groups()
            add(cluster_of(name), start, "STATUS", "RUNNING", 1, kind)
            ends.append(partial(add, cluster_of(name), end, "REQUEST", "PAUSED", 1, kind))
        elif closed := CLOSED.fullmatch(text):
            told.setdefault(closed[1], []).append(closed[2])
        else:
            total = TOTAL.fullmatch(text)
            assert total, text
            month = Month(date.fromisoformat(f"{total[1]}-01"))
            assert close(organization, month, month.end)
            totals[total[1]] = total[2]
            while ends:
                ends.pop()()
    stated = {str(statement.month): statement for statement in Statement.objects.all()}
    assert {month: str(statement.total) for month, statement in stated.items()} == totals
    lines = {
        month: [said(line, statement) for line in statement.lines.order_by("pk")] for month, statement in stated.items()
    }
    assert lines == told


def said(line: StatementLine, statement: Statement) -> str:
    """A line as the page has it."""
    text = f"{line.cluster_name} {line.minutes} min × {line.hourly:.2f} = {line.amount:.4f}"
    return text if line.of == statement.first else f"{text}, a correction of {line.month}"
