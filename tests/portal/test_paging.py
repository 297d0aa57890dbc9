"""Keyset pages: every row once, in order, whatever is added meanwhile; and lists cost the same however long."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import User
from clusters.models import Cluster
from portal.paging import Page, page
from tests.factories import make_cluster, make_organization, make_run, make_user, make_workspace
from workspaces.models import Workspace


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def workspace(alice: User) -> Workspace:
    return make_workspace(make_organization(alice))


def at(address: str) -> Page[Cluster]:
    return page(RequestFactory().get(address), Cluster.objects.all(), size=3)


def numbers(shown: Page[Cluster]) -> list[int]:
    return [row.number for row in shown.rows]


def test_all_rows_once_forward_and_back(workspace: Workspace) -> None:
    wanted = sorted((make_cluster(workspace).number or 0 for _ in range(8)), reverse=True)
    wanted = sorted(Cluster.objects.values_list("number", flat=True), reverse=True)
    seen: list[list[int]] = []
    address: str | None = "/?q=x"
    while address:
        shown = at(address)
        seen.append(numbers(shown))
        last, address = address, shown.next_url
    assert seen == [wanted[:3], wanted[3:6], wanted[6:]]
    back = [seen[-1]]
    previous = at(last).previous_url
    while previous:
        assert parse_qs(urlsplit(previous).query)["q"] == ["x"]
        back.append(numbers(at(previous)))
        previous = at(previous).previous_url
    assert back == seen[::-1]


def test_rows_added_meanwhile_do_not_shift_the_next_page(workspace: Workspace) -> None:
    for _ in range(5):
        make_cluster(workspace)
    first = at("/")
    make_cluster(workspace)
    assert first.next_url
    assert not set(numbers(first)) & set(numbers(at(first.next_url)))


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=", "before=99999999999999999999", "after=1e3"])
def test_what_is_no_position_is_the_first_page(query: str, workspace: Workspace) -> None:
    make_cluster(workspace)
    assert len(at(f"/?{query}").rows) == 1


def test_nothing_is_a_page_without_neighbours(db: None) -> None:
    shown = at("/")
    assert (shown.rows, shown.next_url, shown.previous_url, shown.count_label) == ([], None, None, "")


@pytest.mark.parametrize("what", ["clusters:list", "jobs:list", "billing:dashboard"])
def test_a_list_of_thirty_takes_the_queries_of_a_list_of_three(
    what: str, workspace: Workspace, alice: User, django_assert_max_num_queries: Any
) -> None:
    from billing import metering
    from tests.billing.test_metering import ledger

    client = Client()
    client.force_login(alice)
    place = workspace.organization_id if what.startswith("billing") else workspace.pk
    address = reverse(what, args=[place])
    counts = []
    for wanted in (3, 30):
        while Cluster.objects.count() < wanted:
            cluster = make_cluster(workspace, created_by=alice)
            make_run(cluster, requested_by=alice)
            make_run(cluster, requested_by=alice, status="SUCCEEDED")
            ledger(cluster, (0, "STATUS", "RUNNING", 1))
        metering.meter()
        client.get(address)
        with django_assert_max_num_queries(20) as queries:
            assert client.get(address, {"month": "2026-11"}).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
