"""The examples in docs/billing.md about idle clusters, and about what was saved by them, are true."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from billing import metering, savings
from billing.models import Rate, Saving
from billing.months import Month
from billing.usage import cost
from clusters.idleness import Signal, outlook, warned_before
from clusters.models import Cluster, Transition
from tests.billing.examples import Example, examples
from tests.billing.test_examples import KINDS, LINE, RATES, at
from tests.factories import make_cluster, make_organization, make_user, make_workspace

TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
SET = re.compile(r"auto-pause (\d+), auto-stop (\d+)")
USED = re.compile(rf"used until {TIME}")
SNOOZED = re.compile(rf"snoozed until {TIME}")
BY_ITSELF = re.compile(rf"{TIME} (auto-pause|auto-stop)")
SAID = re.compile(r"(saved|saved in|told|pause|stop|never)\b.*")
IDLE, SAVED = examples("Idle clusters"), examples("Saved")


def test_there_is_an_example_for_each_rule() -> None:
    assert (len(IDLE), len(SAVED)) == (7, 5)


@pytest.mark.parametrize("example", IDLE, ids=lambda example: example.rule)
def test_what_comes_next_for_an_idle_cluster(example: Example) -> None:
    cluster = Cluster(status="RUNNING", target="RUNNING", due_at=None)
    signals, expected = [], []
    for line in example.lines:
        if found := SET.fullmatch(line):
            cluster.auto_pause_minutes, cluster.auto_stop_minutes = int(found[1]), int(found[2])
        elif found := USED.fullmatch(line):
            cluster.last_activity_at = at(found[1])
        elif found := SNOOZED.fullmatch(line):
            cluster.snoozed_until = at(found[1])
        elif line == "paused":
            cluster.status = cluster.target = "PAUSED"
        elif line == "a run waits":
            signals.append(Signal("a run in its queue"))
        else:
            assert SAID.fullmatch(line), line
            expected.append(line)
    assert said_of(cluster, signals) == expected


def said_of(cluster: Cluster, signals: list[Signal]) -> list[str]:
    """What the page of the cluster would say, as the document has it."""
    found = outlook(cluster, cluster.last_activity_at, signals)
    assert found is not None
    if not found.action:
        return ["never"]
    if found.at is None:
        return [f"{found.action} {found.minutes} min after the last job"]
    before = warned_before(found, 10)
    assert before is not None
    return [f"told {written(found.at - before)}", f"{found.action} {written(found.at)}"]


def written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@pytest.mark.django_db
@pytest.mark.parametrize("example", SAVED, ids=lambda example: example.rule)
def test_what_the_page_says_was_saved(example: Example) -> None:
    Rate.objects.all().delete()
    for rate in RATES:
        values = {"provider": "LOCAL", "instance_type": rate[1]}
        Rate.objects.filter(**values, valid_to=None).update(valid_to=at(rate[3]))
        Rate.objects.create(**values, hourly=Decimal(rate[2]), valid_from=at(rate[3]))
    organization = make_organization(make_user())
    cluster = make_cluster(make_workspace(organization))
    expected = [line for line in example.lines if line.startswith("saved")]
    ledger = [line for line in example.lines if line not in expected]
    for seq, line in enumerate(ledger, 1):
        entry, automatic = LINE.fullmatch(line), BY_ITSELF.fullmatch(line)
        assert entry or automatic, line
        if entry:
            values = {"kind": KINDS[entry[2]], "status": entry[3], "instances": int(entry[4] or 1)}
            values |= {"instance_type": entry[5] or "local.4x", "actor_label": "Ada" if entry[2] == "asked" else ""}
        elif automatic:
            values = {"kind": "REQUEST", "status": "PAUSED" if automatic[2] == "auto-pause" else "STOPPED"}
            values |= {"instances": 1, "instance_type": "x", "actor_label": f"Bodo Cloud Platform ({automatic[2]})"}
        when = at((entry or automatic)[1])  # type: ignore[index]
        Transition.objects.create(cluster=cluster, seq=seq, at=when, **values)
    Cluster.objects.filter(pk=cluster.pk).update(ledger_length=len(ledger))
    metering.rebuild([cluster.pk])
    rows = Saving.objects.order_by("paused_at")
    told = [said(row, at("2027-01-01 00:00:00")) for row in rows]
    if "saved in" in str(expected):
        month = Month(rows[0].paused_at.date().replace(day=1))
        told.append(f"saved in {month}: {savings.saved(organization, month, at('2027-01-01 00:00:00')):.4f}")
    assert told == expected


def said(row: Saving, now: datetime) -> str:
    """A pause as the page has it."""
    minutes = savings.minutes_saved(row.paused_at, row.ended_at, now)
    end = min(row.ended_at or now, row.paused_at + timedelta(hours=12))
    price = cost(minutes, row.instances, row.hourly)
    span = f"{written(row.paused_at)} to {written(end)}"
    return f"saved {span}: {minutes} min × {row.instances} × {row.hourly:.2f} = {price:.4f}"
