"""Downloads that a provider hands out itself: only after the page said that one may, and never with a secret in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.permissions import OrganizationRole
from clusters.models import Cluster
from jobs.models import Run
from portal.clouds.base import LogStream
from tests.factories import make_secret, make_user
from tests.fakes import FakeCloud, Workers
from tests.jobs.flow import started


@pytest.fixture
def alice(cluster: Cluster) -> Client:
    client, user = Client(SERVER_NAME="127.0.0.1"), make_user("alice")
    Membership.objects.create(organization=cluster.workspace.organization, user=user, role=OrganizationRole.OWNER)
    client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    return client


def with_links(cluster: Cluster, cloud: FakeCloud, workers: Workers, *, end: bool = True, **job: Any) -> Run:
    """A run that ended, at a provider that hands out files."""
    run = started(cluster, workers, **job)
    process = cloud.processes[str(run.pk)]
    process.outputs.links = True
    process.outputs.saved["deep/a.csv"] = b"1,2"
    process.logs[LogStream.STDOUT] = b"hunter22"
    if end:
        cloud.finish(run.pk)
        workers.work(seconds=5)
    return run


def address(run: Run, name: str, query: str = "") -> str:
    return reverse(f"jobs:{name}", args=[run.workspace_id, run.pk]) + query


def test_an_output_comes_from_the_provider(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, alice: Client
) -> None:
    run = with_links(cluster, fake_cloud, workers)
    answer = alice.get(address(run, "output", "?path=deep/a.csv"))
    assert (answer.status_code, answer["Location"]) == (302, "https://files.example.org/deep/a.csv?as=a.csv")
    assert answer["Cache-Control"] == "no-store"
    assert alice.get(address(run, "output", "?path=nothing")).status_code == 404


def test_a_whole_log_comes_from_the_provider_once_it_is_whole(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, alice: Client
) -> None:
    run = with_links(cluster, fake_cloud, workers, end=False)
    answer = alice.get(address(run, "log_download"))
    assert b"".join(answer) == b"hunter22"
    fake_cloud.finish(run.pk)
    workers.work(seconds=5)
    answer = alice.get(address(run, "log_download", "?stream=stderr"))
    assert answer["Location"] == f"https://files.example.org/stderr?as={run.pk}-stderr.log"


def test_a_log_with_secrets_is_masked_and_so_comes_from_the_portal(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, alice: Client
) -> None:
    group = make_secret(cluster.workspace, {"PASSWORD": "hunter22"}).group
    run = with_links(cluster, fake_cloud, workers, secret_groups=[group])
    assert b"".join(alice.get(address(run, "log_download"))) == b"********"


def test_nobody_else_gets_a_link(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = with_links(cluster, fake_cloud, workers)
    mallory = Client(SERVER_NAME="127.0.0.1")
    mallory.force_login(make_user("mallory"), "allauth.account.auth_backends.AuthenticationBackend")
    for name, query in (("output", "?path=deep/a.csv"), ("log_download", "")):
        assert mallory.get(address(run, name, query)).status_code == 404
