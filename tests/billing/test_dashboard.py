"""The month by workspace, cluster, person, type and tag; the intervals behind it and the ledger behind those."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from billing import metering
from billing.dashboard import HEIGHT, SERIES, Dashboard, dashboard, dimensions, tag_keys
from billing.models import UsageInterval
from billing.totals import DIMENSIONS, Amount
from clusters.models import Cluster
from tests.billing.conftest import NOVEMBER, NOW
from tests.billing.test_metering import ledger
from tests.factories import make_cluster, make_organization, make_workspace
from workspaces.models import Workspace


def shown(organization: Organization, by: str, workspace: Workspace | None = None) -> Dashboard:
    return dashboard(organization, NOVEMBER, NOW, dimensions(organization)[by], workspace)


def lines(found: Dashboard) -> dict[str, tuple[int, str]]:
    return {line.name: (line.amount.minutes, f"{line.amount.cost:.2f}") for line in found.lines}


ETL, TRAIN, ADHOC = (120, "1.20"), (30, "0.60"), (720, "7.20")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("workspace", {"Annex": ADHOC, "Lab": (150, "1.80")}),
        ("cluster", {"adhoc": ADHOC, "etl": ETL, "train": TRAIN}),
        ("user", {"The platform": ADHOC, "Alice Example": ETL, "Bob Example": TRAIN}),
        ("type", {"local.1x": (840, "8.40"), "local.2x": TRAIN}),
        ("tag:team", {"Without this tag": ADHOC, "data": ETL, "ml": TRAIN}),
        ("tag:cost", {"Without this tag": (750, "7.80"), "1": ETL}),
        ("tag:2026", {"Without this tag": (840, "8.40"), "yes": TRAIN}),
    ],
)
def test_a_month_is_added_up_by_what_somebody_asks_for(
    organization: Organization, clusters: dict[str, Cluster], by: str, expected: dict[str, tuple[int, str]]
) -> None:
    found = shown(organization, by)
    assert lines(found) == expected
    assert list(lines(found)) == sorted(expected, key=lambda name: -Decimal(expected[name][1]))
    assert found.total == Amount(870, Decimal("9.00"))
    days = {day.day: day.amount for day in found.days if day.amount.minutes}
    assert days == {
        date(2026, 11, 1): Amount(120, Decimal("1.2")),
        date(2026, 11, 2): Amount(30, Decimal("0.6")),
        date(2026, 11, 11): Amount(720, Decimal("7.2")),
    }


def test_an_hour_across_midnight_is_in_both_days(organization: Organization, clusters: dict[str, Cluster]) -> None:
    ledger(clusters["etl"], (60 + 3 * 1440 - 20, "STATUS", "RUNNING", 1), (60 + 3 * 1440 + 40, "REQUEST", "PAUSED", 1))
    metering.meter()
    found = {day.day.day: day.amount.minutes for day in shown(organization, "cluster").days}
    assert (found[3], found[4]) == (20, 40)


def test_one_workspace_alone(organization: Organization, clusters: dict[str, Cluster]) -> None:
    found = shown(organization, "cluster", workspace=clusters["etl"].workspace)
    assert lines(found) == {"etl": ETL, "train": TRAIN}
    assert (found.open_count, found.hourly) == (0, Decimal(0))


def test_what_runs_now_what_today_cost_and_what_is_to_come(
    organization: Organization, clusters: dict[str, Cluster]
) -> None:
    found = shown(organization, "cluster")
    assert (found.open_count, found.hourly, found.today) == (1, Decimal("0.60"), Amount(720, Decimal("7.20")))
    assert found.forecast == Decimal("9.00")  # the last seven full days cost nothing
    earlier = dashboard(organization, NOVEMBER, NOW - timedelta(days=8), DIMENSIONS["cluster"])
    assert earlier.forecast is not None
    assert earlier.forecast.quantize(Decimal("0.001")) == Decimal("8.871")  # 1.80, and 27.5 days at 1.80 / 7
    assert dashboard(organization, NOVEMBER.previous, NOW, DIMENSIONS["type"]).forecast is None
    assert dashboard(organization, NOVEMBER.next, NOW, DIMENSIONS["type"]).forecast is None


def test_a_cluster_that_runs_since_a_moment_ago_is_in_the_list(organization: Organization) -> None:
    cluster = make_cluster(make_workspace(organization), name="new")
    ledger(cluster, (60 + 10 * 1440 + 720, "STATUS", "RUNNING", 1))
    metering.meter()
    found = dashboard(organization, NOVEMBER, NOW + timedelta(seconds=9), DIMENSIONS["cluster"])
    assert (lines(found), found.open_count) == ({"new": (0, "0.00")}, 1)


def test_tags_that_clusters_have_had(organization: Organization, clusters: dict[str, Cluster]) -> None:
    assert tag_keys(organization) == ["2026", "cost", "team"]
    assert tag_keys(make_organization()) == []


def test_columns_of_the_plot_are_as_high_as_their_parts(organization: Organization) -> None:
    """The largest seven have colours; the others share one. What costs little is still seen."""
    workspace = make_workspace(organization)
    for number in range(SERIES + 3):
        ledger(
            make_cluster(workspace, name=f"c{number}"),
            (60, "STATUS", "RUNNING", 1),
            (60 + 2 ** (SERIES + 3 - number), "REQUEST", "PAUSED", 1),
        )
    metering.meter()
    found = shown(organization, "cluster")
    assert [line.colour for line in found.lines] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    (first, *others) = found.days
    assert [bar.colour for bar in first.bars] == list(range(SERIES + 1))
    at = 0
    for bar in first.bars:
        assert bar.bottom == at
        assert bar.height >= 4
        at += bar.height
    assert HEIGHT <= at <= HEIGHT + 4 * SERIES
    assert all(day.bars == [] for day in others)


# --- the pages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(organization: Organization) -> Client:
    client = Client()
    client.force_login(User.objects.get(memberships__organization=organization))
    return client


def test_the_page_leads_from_the_month_to_the_ledger(
    browser: Client, organization: Organization, clusters: dict[str, Cluster]
) -> None:
    page = browser.get(reverse("billing:dashboard", args=[organization.pk]), {"month": "2026-11", "by": "workspace"})
    (lab,) = re.findall(
        r'href="(\?month=2026-11&amp;by=cluster&amp;workspace=[^"]+)" title="Lab"', page.content.decode()
    )
    page = browser.get(reverse("billing:dashboard", args=[organization.pk]) + lab.replace("&amp;", "&"))
    assert [line.name for line in page.context["shown"].lines] == ["etl", "train"]
    (etl,) = re.findall(r'href="([^"]+)" title="etl"', page.content.decode())
    page = browser.get(etl.replace("&amp;", "&"))
    (row,) = page.context["intervals"]
    assert (row["minutes"], row["cost"], row["row"].cluster) == (60, Decimal("1.2"), clusters["etl"])
    (interval,) = re.findall(r'href="([^"]+)" title="etl"', page.content.decode())
    page = browser.get(interval)
    assert (page.context["opened"], page.context["closed"], page.context["price"]) == (1, 2, Decimal("1.2"))
    text = re.sub(r"<[^>]+>|\s+", " ", page.content.decode())
    assert "60 min × 2 × 0.6 USD / 60 = 1.2000 USD" in " ".join(text.split())


def test_an_interval_that_goes_on_has_no_end(browser: Client, clusters: dict[str, Cluster]) -> None:
    row = UsageInterval.objects.get(cluster=clusters["adhoc"])
    page = browser.get(reverse("billing:interval", args=[row.organization_id, row.pk]))
    assert (page.context["opened"], page.context["closed"]) == (1, None)
    assert "It goes on" in page.content.decode()


def test_an_interval_that_does_not_follow_from_the_ledger_says_so(
    browser: Client, clusters: dict[str, Cluster]
) -> None:
    row = UsageInterval.objects.get(cluster=clusters["etl"])
    UsageInterval.objects.filter(pk=row.pk).update(started_at=row.started_at + timedelta(minutes=1))
    page = browser.get(reverse("billing:interval", args=[row.organization_id, row.pk]))
    assert (page.status_code, page.context["opened"], page.context["closed"]) == (200, None, 2)
    assert "which no line of the ledger says" in page.content.decode()


def test_intervals_of_a_month_have_its_part(
    browser: Client, organization: Organization, clusters: dict[str, Cluster]
) -> None:
    ledger(clusters["etl"], (40000, "STATUS", "RUNNING", 1), (50000, "REQUEST", "PAUSED", 1))
    address = reverse("billing:intervals", args=[organization.pk])
    query = {"cluster": str(clusters["etl"].pk)}
    first = browser.get(address, {**query, "month": "2026-11"}).context["intervals"]
    assert [row["minutes"] for row in first] == [30 * 1440 + 60 - 40000, 60]
    second = browser.get(address, {**query, "month": "2026-12"}).context["intervals"]
    assert [row["minutes"] for row in second] == [50000 - 30 * 1440 - 60]
    assert browser.get(address, {**query, "month": "2027-01"}).context["intervals"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"workspace": "x"},
        {"workspace": "0" * 32},
        {"by": "tag:"},
        {"by": "tag:\0"},
        {"by": "nonsense"},
        {"month": "never"},
    ],
)
def test_addresses_that_make_no_sense_show_all(
    browser: Client, organization: Organization, clusters: dict[str, Cluster], query: dict[str, str]
) -> None:
    assert browser.get(reverse("billing:dashboard", args=[organization.pk]), query).status_code == 200
    cluster = {"cluster": query.get("workspace", "")}
    assert browser.get(reverse("billing:intervals", args=[organization.pk]), cluster).status_code == 200


def test_workspaces_and_clusters_of_others_narrow_nothing(
    browser: Client, organization: Organization, clusters: dict[str, Cluster]
) -> None:
    foreign = Cluster.objects.exclude(workspace__organization=organization).get()
    address = reverse("billing:dashboard", args=[organization.pk])
    page = browser.get(address, {"month": "2026-11", "workspace": str(foreign.workspace_id)})
    assert page.context["workspace"] is None
    assert foreign.workspace.name not in page.content.decode().replace(organization.name, "")
    page = browser.get(reverse("billing:intervals", args=[organization.pk]), {"cluster": str(foreign.pk)})
    assert page.context["cluster"] is None


def test_a_large_month_takes_as_many_queries_as_a_small_one(
    browser: Client, organization: Organization, clusters: dict[str, Cluster], django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        ledger(make_cluster(clusters["etl"].workspace, name=f"n{number}"), (60, "STATUS", "RUNNING", 1))
    metering.meter()
    with django_assert_max_num_queries(20):
        browser.get(reverse("billing:dashboard", args=[organization.pk]), {"month": "2026-11"})
    with django_assert_max_num_queries(11):
        browser.get(reverse("billing:intervals", args=[organization.pk]), {"month": "2026-11"})
