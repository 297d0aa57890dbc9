"""A customer's account with the AWS cloud over it, whose process can die at any call."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.backends import get_backend

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.provider import AwsCloud
from portal.clouds.aws.session import Client, Session
from portal.clouds.base import Failed, Handle, Pending, Settled, Step, Target, WorkspaceSpec
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws, connected


class DiedError(BaseException):
    """The process ended here. Nothing may catch it."""


READS = ("describe_", "get_", "list_", "head_")


@dataclass
class Fate:
    """Counts the calls that change something, and ends the process at number ``at``, before or after its effect."""

    at: int = -1
    after: bool = False
    calls: list[str] = field(default_factory=list)
    permissions: set[str] = field(default_factory=set)

    def meet(self, name: str, call: Callable[[], Any]) -> Any:
        if name.startswith(READS) or name in KEEPING:
            return call()
        number = len(self.calls)
        self.calls.append(name)
        if number == self.at and not self.after:
            raise DiedError(name)
        answer = call()
        if number == self.at:
            raise DiedError(name)
        return answer


KEEPING = {"update_item", "put_object", "delete_item", "delete_object"}
"""State and lock, which have tests of their own."""


class MortalClient(Client):
    """A client of one process."""

    def __init__(self, service: str, inner: Any, fate: Fate) -> None:
        super().__init__(service, inner)
        self.fate = fate

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from portal.clouds.aws.errors import action_of
        from portal.clouds.aws.session import _PREFIXES

        call = super().__getattr__(name)

        def counted(**arguments: Any) -> Any:
            prefix = self.inner.meta.service_model.signing_name
            operation = self.inner.meta.method_to_api_mapping[name]
            self.fate.permissions.add(action_of(_PREFIXES.get(prefix, prefix), operation))
            return self.fate.meet(name, lambda: call(**arguments))

        return counted

    def pages(self, name: str, key: str, **arguments: Any) -> Iterator[Any]:
        from portal.clouds.aws.errors import action_of
        from portal.clouds.aws.session import _PREFIXES

        prefix, operation = self.inner.meta.service_model.signing_name, self.inner.meta.method_to_api_mapping[name]
        self.fate.permissions.add(action_of(_PREFIXES.get(prefix, prefix), operation))
        return super().pages(name, key, **arguments)


class MortalSession(Session):
    """A session of one process."""

    fate: Fate

    def client(self, service: str, patience: float | None = None) -> Client:
        client = super().client(service, patience)
        return MortalClient(service, client.inner, self.fate)


class MortalCloud(AwsCloud):
    """The cloud as one process has it. Nothing is slow here, and moto shows at once what it made."""

    step_seconds = 0.0
    lag_seconds = 0.0

    def __init__(self, configuration: Configuration, endpoint: str) -> None:
        super().__init__(configuration, "https://portal.example.org", endpoint)
        self.fate = Fate()

    def session(self, region: str) -> Session:
        session = super().session(region)
        assert isinstance(session, MortalSession)
        session.fate = self.fate
        return session

    def _new_session(self, region: str) -> Session:
        return MortalSession(region, role=self.configuration.role, endpoint=self.endpoint)


@dataclass
class World:
    """One workspace to be, and what stands in the account."""

    aws: Aws
    cloud: MortalCloud
    spec: WorkspaceSpec
    empty: Counter[str] = field(default_factory=Counter)

    def advance(self, handle: Handle, target: Target = Target.RUNNING) -> Step:
        """One step, with the handle stored as PostgreSQL gives it back."""
        step = self.cloud.advance_workspace(self.spec, handle, target)
        stored: Handle = json.loads(json.dumps(step.handle, sort_keys=True))
        return Step(stored, step.outcome, step.events)

    def go(self, target: Target = Target.RUNNING, handle: Handle | None = None, limit: int = 400) -> Handle:
        """Until it is settled. Raises what failed, with the handle as ``handle``."""
        handle = handle or {}
        for _ in range(limit):
            step = self.advance(handle, target)
            handle = step.handle
            match step.outcome:
                case Failed(error):
                    error.handle = handle  # type: ignore[attr-defined]
                    raise error
                case Settled():
                    return handle
                case Pending():
                    continue
        raise AssertionError("does not settle")

    def until_death(
        self,
        at: int,
        after: bool,
        target: Target,
        handle: Handle,
        enough: Callable[[Handle], bool] = lambda handle: False,
    ) -> tuple[Handle, bool]:
        """The handle that was stored last before a process died at its call number ``at``, and whether it did before
        it had settled or done ``enough``."""
        self.cloud.fate = Fate(at, after, permissions=self.cloud.fate.permissions)
        try:
            for _ in range(400):
                step = self.advance(handle, target)
                assert not isinstance(step.outcome, Failed), step.outcome
                handle = step.handle
                if isinstance(step.outcome, Settled) or enough(handle):
                    return handle, False
        except DiedError:
            return handle, True
        finally:
            self.cloud.fate = Fate(permissions=self.cloud.fate.permissions)
        raise AssertionError("does not settle")

    def there(self) -> Counter[str]:
        """How many of what there are more than before the workspace: the customer's own are not ours to count."""
        return census(self.spec.region) - self.empty


def new_world(aws: Aws) -> World:
    cloud = MortalCloud(connected(aws), aws.address)
    world = World(aws, cloud, WorkspaceSpec(str(uuid.uuid4()), "Analytics", REGION))
    cloud.zones(REGION)  # moto makes a default VPC when EC2 is first asked for
    world.empty = census(REGION)
    return world


def census(region: str, account: str = CUSTOMER) -> Counter[str]:
    """Everything that stands in an account, as moto itself knows it."""

    def backend(service: str) -> Any:
        return get_backend(service)[account]["global" if service == "iam" else region]  # type: ignore[call-overload]

    ec2, efs, kms, iam = backend("ec2"), backend("efs"), backend("kms"), backend("iam")
    found: Counter[str] = Counter()
    found["vpcs"] = len(ec2.vpcs)
    found["subnets"] = sum(len(zone) for zone in ec2.subnets.values())
    found["internet gateways"] = len(ec2.internet_gateways)
    found["attachments"] = sum(bool(each.vpc) for each in ec2.internet_gateways.values())
    found["nat gateways"] = sum(each.state not in {"deleted", "deleting"} for each in ec2.nat_gateways.values())
    found["addresses"] = len(ec2.addresses)
    found["route tables"] = len(ec2.route_tables)
    found["groups"] = sum(len(groups) for groups in ec2.groups.values())
    found["endpoints"] = sum(each.state != "deleted" for each in ec2.vpc_end_points.values())
    found["interfaces"] = len(ec2.enis)
    found["filesystems"] = len(efs.file_systems_by_id)
    found["mount targets"] = len(efs.mount_targets_by_id)
    found["access points"] = len(efs.access_points)
    found["keys"] = sum(each.key_state != "PendingDeletion" for each in kms.keys.values())
    found["aliases"] = sum(
        not name.startswith("alias/aws/") for key in kms.keys.values() for name in getattr(key, "aliases", {})
    )
    found["parameters"] = len(backend("ssm")._parameters)
    found["roles"] = len(iam.roles)
    found["interfaces of functions"] = sum("Lambda" in str(each.description) for each in ec2.enis.values())
    found["functions"] = len(backend("lambda").list_functions())
    found["profiles"] = len(iam.instance_profiles)
    return found
