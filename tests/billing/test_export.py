"""Usage as a file: every interval once, whatever the size of the pieces, with the part that lies in the days."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, Organization, User
from billing import export
from billing.dashboard import dashboard
from billing.export import COLUMNS, Range
from billing.totals import DIMENSIONS
from clusters.models import Cluster
from portal.export import as_csv
from tests.billing.conftest import NOVEMBER, NOW
from tests.factories import make_user

ALL = Range(date(2026, 11, 1), date(2026, 11, 30))


def rows(organization: Organization, days: Range = ALL, now: datetime = NOW) -> list[dict[str, str]]:
    text = b"".join(as_csv(COLUMNS, export.batches(organization, days, now))).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_for_each_interval(organization: Organization, clusters: dict[str, Cluster]) -> None:
    found = rows(organization)
    assert [row["cluster"] for row in found] == ["etl", "train", "adhoc"]
    first = found[0]
    assert first.pop("interval").isdecimal()
    assert first == {
        "workspace": "Lab",
        "workspace_id": str(clusters["etl"].workspace_id),
        "cluster": "etl",
        "cluster_id": str(clusters["etl"].pk),
        "instance_type": "local.1x",
        "instances": "2",
        "started_at": "2026-11-01T00:00:00.000000Z",
        "ended_at": "2026-11-01T01:00:00.000000Z",
        "minutes": "60",
        "usd_per_instance_hour": "0.6",
        "cost_usd": "1.2",
    }
    assert (found[2]["ended_at"], found[2]["minutes"]) == ("", "720")


def test_it_adds_up_to_the_page(organization: Organization, clusters: dict[str, Cluster]) -> None:
    total = sum(Decimal(row["cost_usd"]) for row in rows(organization))
    assert total == dashboard(organization, NOVEMBER, NOW, DIMENSIONS["type"]).total.cost


def test_only_the_part_within_the_days(organization: Organization, clusters: dict[str, Cluster]) -> None:
    later = datetime(2026, 11, 13, tzinfo=UTC)
    days = Range(date(2026, 11, 12), date(2026, 11, 12))
    assert [(row["cluster"], row["minutes"]) for row in rows(organization, days, later)] == [("adhoc", "1440")]
    assert rows(organization, Range(date(2026, 10, 1), date(2026, 10, 31))) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_size_of_the_pieces_does_not_matter(
    organization: Organization, clusters: dict[str, Cluster], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    whole = rows(organization)
    monkeypatch.setattr(export, "BATCH", size)
    assert rows(organization) == whole


def test_a_name_that_a_spreadsheet_would_compute_is_made_harmless(
    organization: Organization, clusters: dict[str, Cluster]
) -> None:
    Cluster.objects.filter(pk=clusters["etl"].pk).update(name="=1+1")
    assert rows(organization)[0]["cluster"] == "'=1+1"


def post(client: Client, organization: Organization, **form: Any) -> Any:
    return client.post(reverse("billing:export", args=[organization.pk]), form)


def test_the_file_and_the_event(client: Client, organization: Organization, clusters: dict[str, Cluster]) -> None:
    client.force_login(User.objects.get(memberships__organization=organization))
    response = post(client, organization, first="2026-11-01", last="2026-11-30")
    assert response["Content-Disposition"] == 'attachment; filename="usage-2026-11-01-2026-11-30.csv"'
    lines = b"".join(response).decode().splitlines()
    assert (lines[0], len(lines)) == (",".join(column.name for column in COLUMNS), 4)
    event = AuditEvent.objects.get(verb="usage.export")
    assert event.detail == {"first": "2026-11-01", "last": "2026-11-30", "format": "csv"}


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("", "2026-11-30", "This field is required."),
        ("soon", "2026-11-30", "Enter a valid date."),
        ("2026-12-01", "2026-11-30", "The first day has to be before the last one."),
        ("2020-01-01", "2026-11-30", "At most five years at once."),
        ("9999-12-31", "9999-12-31", "The years are from 2000 to 2999."),
        ("0001-01-01", "0001-01-01", "The years are from 2000 to 2999."),
    ],
)
def test_days_that_make_no_sense(client: Client, organization: Organization, first: str, last: str, says: str) -> None:
    client.force_login(User.objects.get(memberships__organization=organization))
    response = post(client, organization, first=first, last=last)
    assert response.status_code == 422
    assert says in response.content.decode()
    assert not AuditEvent.objects.filter(verb="usage.export").exists()


def test_a_stranger_gets_nothing(client: Client, organization: Organization) -> None:
    client.force_login(make_user("mallory"))
    assert post(client, organization, first="2026-11-01", last="2026-11-30").status_code == 404
