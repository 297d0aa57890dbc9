"""The list of runs: the same number of queries however many it shows, and filters that find."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from clusters.models import Cluster
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster() -> Cluster:
    return factories.make_cluster(factories.make_workspace(factories.make_organization(factories.make_user("alice"))))


@pytest.fixture
def client(cluster: Cluster) -> Client:
    client = Client(SERVER_NAME="127.0.0.1")
    owner = cluster.workspace.organization.members.get()
    client.force_login(owner, "allauth.account.auth_backends.AuthenticationBackend")
    return client


def queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_a_long_queue_takes_no_more_queries_than_a_short_one(client: Client, cluster: Cluster) -> None:
    address = f"/w/{cluster.workspace_id}/jobs/"
    other = factories.make_cluster(cluster.workspace)
    factories.make_run(cluster)
    few = queries(client, address)
    for _ in range(5):
        factories.make_run(cluster)
        factories.make_run(other)
    assert queries(client, address) == few


def test_each_cluster_has_a_queue_of_its_own(client: Client, cluster: Cluster) -> None:
    other = factories.make_cluster(cluster.workspace)
    factories.make_run(cluster, status="SUCCEEDED")
    for place in (cluster, other, cluster):
        factories.make_run(place)
    answer = client.get(f"/w/{cluster.workspace_id}/jobs/")
    assert [run.queue_position for run in answer.context["runs"]] == [2, 1, 1, None]
    queued = factories.make_run(cluster, reason="Queued")
    failed = factories.make_run(cluster, status="FAILED", reason="OutOfMemory", number=queued.number + 1)
    page = client.get(f"/w/{cluster.workspace_id}/jobs/").content.decode()
    assert "In queue · position 3</span>" in page
    assert "Out of memory</span>" in page
    for run in (queued, failed):
        assert f'href="/w/{cluster.workspace_id}/jobs/{run.pk}/"' in page
        assert f'hx-get="/w/{cluster.workspace_id}/jobs/{run.pk}/row/"' in page


def test_runs_are_filtered_by_cluster(client: Client, cluster: Cluster) -> None:
    other = factories.make_cluster(cluster.workspace)
    wanted = factories.make_run(cluster, name="Wanted")
    factories.make_run(other, name="Not wanted")
    answer = client.get(f"/w/{cluster.workspace_id}/jobs/?cluster={cluster.pk}")
    assert [run.pk for run in answer.context["runs"]] == [wanted.pk]
    assert f'<option value="{cluster.pk}" selected>' in answer.content.decode()


def test_a_cluster_is_offered_by_its_name_whatever_is_in_it(client: Client, cluster: Cluster) -> None:
    factories.make_run(factories.make_cluster(cluster.workspace, name="<script>alert(1)</script>"))
    page = client.get(f"/w/{cluster.workspace_id}/jobs/").content.decode()
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;</option>") == 1
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("load", ["Nightly LOAD", "reload", "pre-load_a"]),
        ("lo", ["Nightly LOAD", "pre-load_a"]),
        ("a", ["pre-load_a", "a%b"]),
        ("a%", ["a%b"]),
        ("%", []),
        ("_a", []),
        ("zz", []),
    ],
)
def test_a_name_is_found_by_any_part_and_by_one_or_two_letters_where_a_word_begins(
    client: Client, cluster: Cluster, text: str, found: list[str]
) -> None:
    for name in ("Nightly LOAD", "reload", "pre-load_a", "a%b"):
        factories.make_run(cluster, name=name)
    answer = client.get(f"/w/{cluster.workspace_id}/jobs/", {"q": text})
    assert sorted(run.name for run in answer.context["runs"]) == sorted(found)
