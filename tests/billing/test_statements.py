"""Statements: closed once, complete, never changed, and corrected by lines of the next one."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import AuditEvent, Organization, User
from billing import export, metering, statements
from billing.models import Statement, StatementLine, UsageDay, UsageInterval
from billing.months import Month
from billing.statements import close, close_due, last_closable, unclosed
from billing.totals import added, usage_of
from billing.usage import minutes_within
from clusters.models import Cluster
from portal.export import as_csv
from tests.billing.test_metering import OCTOBER, ledger
from tests.billing.test_usage import LEDGERS, Line
from tests.factories import make_cluster, make_organization, make_user, make_workspace
from tests.fakes import Clock

Told = list[tuple[str, str, str, int]]
Steps = list[tuple[int, Line]]
OCT, NOV, DEC = (Month(date(2026, month, 1)) for month in (10, 11, 12))
HOUR, DAY = 60, 1440


def told(organization: Organization, month: Month) -> Told:
    """The lines of a statement: month, cluster, type, minutes."""
    statement = Statement.objects.get(organization=organization, first=month.first)
    rows = statement.lines.order_by("pk")
    return [(str(row.month), row.cluster_name, row.instance_type, row.minutes) for row in rows]


def at(clock: Clock, moment: datetime) -> None:
    clock.at = moment


@pytest.fixture
def etl(organization: Organization) -> Cluster:
    """Two machines from 23:30 in October until 01:00 in November, and half an hour in December."""
    cluster = make_cluster(make_workspace(organization, name="Lab"), name="etl")
    ledger(cluster, (30, "STATUS", "RUNNING", 2), (2 * HOUR, "REQUEST", "PAUSED", 2))
    december = HOUR + 30 * DAY
    ledger(cluster, (december, "STATUS", "RUNNING", 1), (december + 30, "REQUEST", "PAUSED", 1))
    return cluster


def test_a_month_has_its_part_of_each_interval(organization: Organization, etl: Cluster) -> None:
    for month in (OCT, NOV, DEC):
        assert close(organization, month, month.end)
    assert told(organization, OCT) == [("2026-10", "etl", "local.1x", 60)]
    assert told(organization, NOV) == [("2026-11", "etl", "local.1x", 120)]
    assert told(organization, DEC) == [("2026-12", "etl", "local.1x", 30)]
    totals = Statement.objects.order_by("first").values_list("total", flat=True)
    assert list(totals) == [Decimal("0.60"), Decimal("1.20"), Decimal("0.30")]


def test_what_runs_on_is_told_until_the_months_end_and_then_not_again(organization: Organization) -> None:
    cluster = make_cluster(make_workspace(organization), name="long")
    ledger(cluster, (30.4, "STATUS", "RUNNING", 3))
    close(organization, OCT, OCT.end)
    close(organization, NOV, NOV.end)
    ledger(cluster, (HOUR + 30 * DAY + 10.6, "REQUEST", "STOPPED", 3))
    close(organization, DEC, DEC.end)
    # 29.6 minutes are 30 until the month's end; the whole is 30 * 1440 + 40.2 minutes
    assert told(organization, OCT) == [("2026-10", "long", "local.1x", 3 * 30)]
    assert told(organization, NOV) == [("2026-11", "long", "local.1x", 3 * 30 * DAY)]
    assert told(organization, DEC) == [("2026-12", "long", "local.1x", 3 * 10)]


def test_usage_that_was_repaired_is_corrected_by_the_next_statement(organization: Organization, etl: Cluster) -> None:
    close(organization, OCT, OCT.end)
    before = list(StatementLine.objects.values())
    UsageDay.objects.filter(day=date(2026, 10, 31)).update(minutes=46)
    other = make_cluster(make_workspace(organization, name="Annex"), name="found later")
    ledger(other, (10, "STATUS", "RUNNING", 1), (20, "REQUEST", "PAUSED", 1))
    close(organization, NOV, NOV.end)
    assert told(organization, NOV) == [
        ("2026-11", "etl", "local.1x", 120),
        ("2026-10", "found later", "local.1x", 10),
        ("2026-10", "etl", "local.1x", -14),
    ]
    assert Statement.objects.get(first=NOV.first).total == Decimal("1.16")
    close(organization, DEC, DEC.end)
    assert told(organization, DEC) == [("2026-12", "etl", "local.1x", 30)]
    october = Statement.objects.get(first=OCT.first)
    assert list(october.lines.values()) == before
    assert october.total == Decimal("0.60")


def test_names_are_those_of_the_day_it_was_closed(organization: Organization, etl: Cluster) -> None:
    close(organization, OCT, OCT.end)
    Cluster.objects.filter(pk=etl.pk).update(name="renamed")
    assert told(organization, OCT)[0][1] == "etl"


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises((InternalError, ProgrammingError), match="frozen"), transaction.atomic():
        yield


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE billing_statement SET total = 0",
        "DELETE FROM billing_statement",
        "UPDATE billing_statementline SET minutes = 0",
        "DELETE FROM billing_statementline",
        "INSERT INTO billing_statementline (statement_id, of, workspace_id, cluster_id, workspace_name, cluster_name,"
        " instance_type, hourly, minutes) SELECT statement_id, '2020-01-01', workspace_id, cluster_id, workspace_name,"
        " cluster_name, instance_type, hourly, minutes FROM billing_statementline",
    ],
)
def test_the_database_refuses_to_change_what_is_closed(write: str, organization: Organization, etl: Cluster) -> None:
    close(organization, OCT, OCT.end)
    with refused(), connection.cursor() as cursor:
        cursor.execute(write)


def test_the_tables_cannot_be_emptied(organization: Organization) -> None:
    for table in ("billing_statement", "billing_statementline"):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER statement_not_emptied")
        with refused(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table} CASCADE")
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER statement_not_emptied")


def test_months_are_closed_a_day_after_they_end_in_order_and_once(
    organization: Organization, etl: Cluster, clock: Clock
) -> None:
    at(clock, NOV.end + timedelta(days=1, seconds=-1))
    assert close_due() == 1
    at(clock, NOV.end + timedelta(days=1))
    assert close_due() == 1
    assert close_due() == 0
    assert [statement.month for statement in Statement.objects.order_by("first")] == [OCT, NOV]
    events = AuditEvent.objects.filter(verb="statement.close", organization=organization)
    assert [event.detail["month"] for event in events.order_by("number")] == ["2026-10", "2026-11"]
    assert not close(organization, OCT, OCT.end)


def test_a_month_in_which_nothing_was_used_has_a_statement_of_nothing(
    organization: Organization, etl: Cluster, clock: Clock
) -> None:
    at(clock, datetime(2027, 2, 15, tzinfo=UTC))
    assert close_due() == 4
    january = Statement.objects.get(first=date(2027, 1, 1))
    assert (str(january.total), january.line_count) == ("0.00", 0)


def test_an_organization_without_usage_gets_none(clock: Clock, db: None) -> None:
    make_organization(make_user())
    assert close_due() == 0


def test_an_organization_that_ended_gets_its_last_month_and_no_more(
    organization: Organization, etl: Cluster, clock: Clock
) -> None:
    at(clock, datetime(2027, 6, 15, tzinfo=UTC))
    Organization.objects.filter(pk=organization.pk).update(deleted_at=datetime(2026, 12, 24, tzinfo=UTC))
    assert close_due() == 3
    assert close_due() == 0


def test_nothing_is_closed_while_a_ledger_is_not_metered(
    organization: Organization, etl: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = HOUR + 40 * DAY
    metering.meter()
    ledger(etl, (later, "STATUS", "RUNNING", 1))
    monkeypatch.setattr(metering, "meter", lambda organization: 0)  # somebody works on the cluster all the time
    assert not statements.unmetered(organization, DEC) or close(organization, NOV, NOV.end)
    assert not close(organization, DEC, DEC.end)
    assert not Statement.objects.filter(first=DEC.first).exists()
    monkeypatch.undo()
    assert close(organization, DEC, DEC.end)


@pytest.mark.django_db(transaction=True)
def test_a_crash_leaves_nothing_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    organization = make_organization(make_user())
    ledger(make_cluster(make_workspace(organization)), (30, "STATUS", "RUNNING", 2), (90, "REQUEST", "PAUSED", 2))

    def die(*args: Any, **values: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("billing.statements.audit.record", die)
        with pytest.raises(RuntimeError):
            close(organization, OCT, OCT.end)
    assert not Statement.objects.exists()
    assert close(organization, OCT, OCT.end)
    assert told(organization, OCT)[0][3] == 60


@pytest.mark.django_db(transaction=True)
def test_two_at_once_close_it_once() -> None:
    organization = make_organization(make_user())
    ledger(make_cluster(make_workspace(organization)), (30, "STATUS", "RUNNING", 2), (90, "REQUEST", "PAUSED", 2))
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM accounts_organization WHERE id = %s FOR NO KEY UPDATE", [str(organization.pk)])
            assert not close(organization, OCT, OCT.end)  # somebody else is at it
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert close(organization, OCT, OCT.end)
    assert not close(organization, OCT, OCT.end)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ledgers=st.lists(LEDGERS, min_size=1, max_size=3), pace=st.integers(1, 300))
def test_statements_together_are_what_was_used(db: None, ledgers: list[Steps], pace: int) -> None:
    """However the ledgers grew meanwhile: all statements add up to the intervals, month by month."""
    with transaction.atomic():
        organization = make_organization(make_user())
        place = make_workspace(organization)
        clusters = [make_cluster(place) for _ in ledgers]
        for month in (OCT, NOV, DEC):
            for cluster, steps in zip(clusters, ledgers, strict=True):
                _grow(cluster, steps, pace, until=month.end)
            assert close(organization, month, month.end)
        by_month: Counter[str] = Counter()
        for line in StatementLine.objects.filter(statement__organization=organization):
            by_month[str(line.month)] += line.minutes
        wanted = {
            str(month): sum(
                row.instances * minutes_within(row.started_at, row.ended_at or DEC.end, month.start, month.end)
                for row in UsageInterval.objects.in_organization(organization)
            )
            for month in (OCT, NOV, DEC)
        }
        assert {month: by_month[month] for month in wanted} == wanted
        assert not StatementLine.objects.filter(statement__organization=organization).exclude(
            of__in=[month.first for month in (OCT, NOV, DEC)]
        )
        transaction.set_rollback(True)


def _grow(cluster: Cluster, steps: Steps, pace: int, until: datetime) -> None:
    """Take over the lines of a random ledger, some minutes times ``pace`` apart, as far as that time."""
    minutes, lines = 0.0, []
    for pause, line in steps:
        minutes += pause * pace + 0.3
        if OCTOBER + timedelta(minutes=minutes) < until:
            lines.append((minutes, *line))
    ledger(cluster, *lines[cluster.ledger_length :])


def test_a_statement_is_what_the_dashboard_says(organization: Organization, clusters: dict[str, Cluster]) -> None:
    close(organization, NOV, NOV.end)
    usage = usage_of(organization, NOV.end)
    exact = added(usage.by_day(NOV.days()).values())
    lines = Statement.objects.get(organization=organization, first=NOV.first).lines.all()
    assert sum(line.minutes for line in lines) == exact.minutes
    assert sum(line.amount for line in lines) == exact.cost


# --- pages and files ------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(client: Client, organization: Organization) -> Client:
    client.force_login(User.objects.get(memberships__organization=organization))
    return client


def url(name: str, organization: Organization, *more: str) -> str:
    return reverse(f"billing:{name}", args=[organization.pk, *more])


def test_the_list_and_the_page(client: Client, organization: Organization, etl: Cluster, clock: Clock) -> None:
    at(clock, datetime(2026, 12, 10, tzinfo=UTC))
    close_due()
    client.force_login(User.objects.get(memberships__organization=organization))
    text = client.get(url("statements", organization)).content.decode()
    assert [part in text for part in ("October 2026", "November 2026", "December 2026", "closes")] == [True] * 4
    page = client.get(url("statement", organization, "2026-11"))
    assert page.context["statement"].total == Decimal("1.20")
    assert [(part["workspace_name"], part["total"], part["price"]) for part in page.context["parts"]] == [
        ("Lab", 120, Decimal("1.2"))
    ]


@pytest.mark.parametrize("month", ["2026-12", "2026-13", "soon", "0001-01", "9999-99", "2026-11-01", "%00", "٢٠٢٦-١١x"])
def test_there_is_no_page_for_other_months(
    month: str, browser: Client, organization: Organization, etl: Cluster
) -> None:
    close(organization, OCT, OCT.end)
    assert browser.get(url("statement", organization, month)).status_code == 404


def test_the_lines_as_a_file(browser: Client, organization: Organization, etl: Cluster) -> None:
    close(organization, OCT, OCT.end)
    UsageDay.objects.filter(day=date(2026, 10, 31)).update(minutes=46)
    close(organization, NOV, NOV.end)
    response = browser.post(url("statement_file", organization, "2026-11"), {"format": "csv"})
    assert response["Content-Disposition"] == 'attachment; filename="statement-2026-11.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))
    assert [(row["used_in"], row["kind"], row["instance_minutes"], row["cost_usd"]) for row in rows] == [
        ("2026-11", "usage", "120", "1.2"),
        ("2026-10", "correction", "-14", "-0.14"),
    ]
    assert AuditEvent.objects.get(verb="statement.export").detail == {"format": "csv"}
    refused = browser.post(url("statement_file", organization, "2026-11"), {"format": "xls"})
    assert refused.status_code == 422
    assert "FormatUnknown" in refused.content.decode()


def test_the_size_of_the_pieces_does_not_matter(
    organization: Organization, clusters: dict[str, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    close(organization, NOV, NOV.end)
    statement = Statement.objects.get()

    def whole() -> bytes:
        return b"".join(as_csv(export.STATEMENT_COLUMNS, export.statement_batches(statement)))

    before = whole()
    monkeypatch.setattr(export, "BATCH", 1)
    assert whole() == before
    assert before.count(b"\r\n") == 1 + statement.line_count > 2


def test_months_that_wait(organization: Organization, etl: Cluster) -> None:
    metering.meter()
    assert last_closable(datetime(2026, 12, 1, 23, 59, tzinfo=UTC)) == OCT
    assert last_closable(datetime(2026, 12, 2, tzinfo=UTC)) == NOV
    assert unclosed(organization, NOV) == [OCT, NOV]
    close(organization, OCT, OCT.end)
    assert unclosed(organization, DEC) == [NOV, DEC]
