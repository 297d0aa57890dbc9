"""What the engine adds to AWS's own calls: clusters of two machines are made and deleted over moto."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench import aws_server
from bench.measure import Measurement

if TYPE_CHECKING:
    from portal.clouds.aws.provider import AwsCloud
    from portal.clouds.base import ClusterSpec, Handle, Target

LIVES = 10


class Spent:
    """Seconds in AWS's calls, and how many there were."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def in_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, counted."""

        def counted(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1

        return counted


def engine_steps() -> Measurement:
    """Milliseconds for a step, handle stored as JSON; its floor are the bare calls of boto3 in the same steps."""
    from portal.clouds.base import ClusterSpec, Target, WorkspaceSpec
    from tests.clouds.aws.cloud import REGION, connected
    from tests.clouds.aws.world_clusters import TOGETHER, deployed_workspace

    values, floors = [], []
    with aws_server.aws() as aws:
        spent = Spent()
        cloud = _cloud(aws, connected(aws), spent)
        workspace, deployed = WorkspaceSpec(str(uuid.uuid4()), "Bench", REGION), deployed_workspace(aws)
        for _ in range(LIVES + 1):
            spec = ClusterSpec(str(uuid.uuid4()), "Bench", workspace, deployed, TOGETHER, 2, "2026.10")
            spent.seconds, spent.calls = 0.0, 0
            began = time.perf_counter()
            handle, up = _go(cloud, spec, {}, Target.RUNNING)
            _, down = _go(cloud, spec, handle, Target.TERMINATED)
            values.append((time.perf_counter() - began) / (up + down) * 1000)
            floors.append(spent.seconds / (up + down) * 1000)
        del values[0], floors[0]  # the first one makes the clients
    rate = 1000 / (sum(values) / len(values))
    notes = [
        f"{rate:.0f} steps a second; {up} steps make a cluster, {down} delete it, with {spent.calls} calls",
        f"The bare calls alone would allow {1000 / (sum(floors) / len(floors)):.0f}",
    ]
    return Measurement(values, floors, notes)


def _cloud(aws: Any, configuration: Any, spent: Spent) -> AwsCloud:
    from portal.clouds.aws.provider import AwsCloud
    from portal.clouds.aws.session import Client, Session

    class TimedSession(Session):
        def client(self, service: str, patience: float | None = None) -> Client:
            client = super().client(service, patience)
            if "_make_api_call" not in client.inner.__dict__:
                client.inner._make_api_call = spent.in_call(client.inner._make_api_call)
            return client

    class Cloud(AwsCloud):
        step_seconds = 0.0

        def _new_session(self, region: str) -> Session:
            return TimedSession(region, role=self.configuration.role, endpoint=self.endpoint)

    return Cloud(configuration, "https://portal.example.org", aws.address)


def _go(cloud: AwsCloud, spec: ClusterSpec, handle: Handle, target: Target) -> tuple[Handle, int]:
    from portal.clouds.base import Failed, Settled

    for steps in range(1, 500):
        step = cloud.advance_cluster(spec, handle, target)
        handle = json.loads(json.dumps(step.handle))
        if isinstance(step.outcome, Failed):
            raise step.outcome.error
        if isinstance(step.outcome, Settled):
            return handle, steps
    raise RuntimeError("The cluster does not settle.")
