"""A cluster for runs."""

from __future__ import annotations

import pytest

from clusters import services as clusters
from clusters.models import Cluster
from jobs import reconcile
from tests.factories import actor, make_organization, make_workspace
from tests.fakes import FakeCloud, Workers


@pytest.fixture
def cluster(fake_cloud: FakeCloud, workers: Workers) -> Cluster:
    """A running cluster of one machine with two cores."""
    fake_cloud.looks, fake_cloud.going, fake_cloud.disks = 0, 0, False
    workspace = make_workspace(make_organization())
    found = clusters.create_cluster(
        actor=actor(), workspace=workspace, name="c", instance_type="local.2x", instances=1, release="2026.10"
    )
    workers.work()
    workers.periodic.append(reconcile.poll_runs)
    return found
