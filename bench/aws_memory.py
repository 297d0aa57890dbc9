"""How much memory a worker process needs while it reconciles many clusters on AWS."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

import psutil

from bench import aws_server, stand
from bench.measure import Measurement

if TYPE_CHECKING:
    from tests.clouds.aws.cloud import Aws

CLUSTERS = 200
SECONDS = 900
"""How long it may take until work on each of them has begun."""

MEGABYTE = 1e6


def worker_memory() -> Measurement:
    """Resident memory of the largest worker of a portal, sampled while 200 clusters are made over moto; its value is
    the peak. The floor is that worker's before the first of them."""
    with (
        aws_server.aws() as aws,
        stand.directory() as path,
        stand.portal(path / "home", PORTAL_AWS_ENDPOINT=aws.address) as running,
    ):
        time.sleep(2)
        workers = [each for each in running.family() if "worker" in each.cmdline()]
        floor = max(_resident(each) for each in workers)
        with stand.django_of(running, PORTAL_AWS_ENDPOINT=aws.address):
            began = time.monotonic()
            _add_clusters(aws)
            peaks = dict.fromkeys((each.pid for each in workers), 0.0)
            begun = 0
            while begun < CLUSTERS and time.monotonic() - began < SECONDS:
                for each in workers:
                    peaks[each.pid] = max(peaks[each.pid], _resident(each))
                time.sleep(0.5)
                begun, run = _progress()
            took = time.monotonic() - began
            shared = [each.memory_full_info().pss / MEGABYTE for each in workers]
    if begun < CLUSTERS:
        raise TimeoutError(f"Only {begun} of {CLUSTERS} clusters were begun after {SECONDS} seconds.")
    notes = [
        f"After {took:.0f} s, {len(workers)} workers had begun {CLUSTERS} clusters, and {run} of them ran",
        f"PSS of the workers in the end, in MB: {', '.join(f'{size:.0f}' for size in shared)}",
    ]
    return Measurement([max(peaks.values())], [floor], notes)


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MEGABYTE


def _progress() -> tuple[int, int]:
    """How many clusters were begun, and how many run."""
    from clusters.models import Cluster

    failed = Cluster.objects.exclude(failure_code="").first()
    if failed:
        raise RuntimeError(f"{failed.failure_code}: {failed.failure_message}")
    return Cluster.objects.exclude(handle={}).count(), Cluster.objects.filter(status="RUNNING").count()


def _add_clusters(aws: Aws) -> None:
    from django.utils import timezone

    from tests.clouds.aws.cloud import REGION, connected
    from tests.clouds.aws.world_clusters import PLAIN, deployed_workspace
    from tests.factories import make_aws_configuration, make_cluster, make_organization, make_user, make_workspace

    known = connected(aws)
    names = {"region": known.region, "bucket": known.bucket, "table": known.table, "role_arn": known.role_arn}
    organization = make_organization(make_user("alice"))
    configuration = make_aws_configuration(organization, external_id=known.external_id, settings=names)
    handle = json.loads(json.dumps(deployed_workspace(aws)))
    workspace = make_workspace(organization, configuration, region=REGION, handle=handle, id=uuid.uuid4())
    for _ in range(CLUSTERS):
        make_cluster(
            workspace,
            instance_type=PLAIN,
            instances=1,
            deployed_instances=0,
            deployed_generation=0,
            status="NEW",
            target="RUNNING",
            due_at=timezone.now(),
        )
