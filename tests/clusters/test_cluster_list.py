"""The list of clusters: the same number of queries however many it shows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from clusters.models import Cluster
from tests import factories
from workspaces.models import Workspace


@pytest.mark.django_db
def test_many_clusters_take_no_more_queries_than_one() -> None:
    alice = factories.make_user("alice")
    workspace = factories.make_workspace(factories.make_organization(alice))
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(alice, "allauth.account.auth_backends.AuthenticationBackend")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/w/{workspace.pk}/clusters/").status_code == 200
        return len(captured)

    busy_cluster(workspace)
    queries()
    one = queries()
    for _ in range(5):
        busy_cluster(workspace)
        factories.make_cluster(workspace, status="FAILED", failure_message="No machines.", due_at="2026-11-01T00:00Z")
    assert queries() == one


def busy_cluster(workspace: Workspace) -> None:
    """A run has it, and another one waits."""
    cluster = factories.make_cluster(workspace, auto_pause_minutes=60)
    run = factories.make_run(cluster, status="RUNNING")
    factories.make_run(cluster)
    Cluster.objects.filter(pk=cluster.pk).update(busy_with=run.pk)
