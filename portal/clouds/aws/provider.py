"""AWS: workspaces in a customer's account, made in a role that the customer lends.

A deployment is a plan of steps (``portal.clouds.plan``); its copy for people is in the customer's bucket, under a lock
in the customer's table (``state``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from portal.clouds import logs, plan
from portal.clouds.aws import checks, doctor, instance_roles, own_network, types, workspace
from portal.clouds.aws.configuration import REGIONS, Configuration
from portal.clouds.aws.files import AwsFiles
from portal.clouds.aws.jobs import Jobs
from portal.clouds.aws.run_logs import Logs
from portal.clouds.aws.run_outputs import Outputs
from portal.clouds.aws.session import Session
from portal.clouds.aws.state import Lock, Store
from portal.clouds.base import (
    Check,
    CloudError,
    ClusterSpec,
    Exit,
    Failed,
    Features,
    Files,
    Handle,
    InstanceRoleSpec,
    InstanceType,
    LogChunk,
    LogMatches,
    LogStream,
    Network,
    Pending,
    Process,
    Ref,
    Settled,
    Step,
    Target,
    WorkspaceSpec,
)
from portal.clouds.lacking import Lacking


class AwsCloud(Lacking):
    """One AWS cloud configuration. ``holder`` is what people know this portal by; ``endpoint`` replaces AWS."""

    poll_seconds = 2.0
    observe_seconds = 30.0
    step_seconds = 3.0
    """How often it is worth looking at something that AWS is making."""

    lag_seconds = 15.0
    """How long AWS may not show what it just made."""

    features = Features(spot=True, zones=True, instance_roles=True, networks=True, orphans=True)

    def __init__(self, configuration: Configuration, holder: str, endpoint: str = "") -> None:
        self.configuration, self.holder, self.endpoint = configuration, holder, endpoint
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._jobs, self._logs = Jobs(configuration, self.session), Logs()

    def check(self) -> Sequence[Check]:
        """Look whether the account can be used. Changes nothing."""
        return checks.check(self.configuration, self.endpoint)

    def check_network(self, region: str, network: Network) -> Sequence[Check]:
        """Look whether a workspace can be in a network that the customer made. Changes nothing."""
        return own_network.check(self.session(region), network)

    def check_workspace(self, spec: WorkspaceSpec) -> Sequence[Check]:
        """Look whether a workspace can be made now. Changes nothing."""
        return doctor.check_workspace(self.session(spec.region), self.configuration, spec)

    def check_cluster(self, spec: ClusterSpec) -> Sequence[Check]:
        """Look whether a cluster can be made now. Changes nothing."""
        return doctor.check_cluster(self.session(spec.workspace.region), self.configuration, spec)

    def regions(self) -> Sequence[str]:
        """Those of the guide."""
        return list(REGIONS)

    def zones(self, region: str) -> Sequence[str]:
        """The zones of a region, as this account calls them."""
        return workspace.zones_of(self.session(region))

    def instance_types(self, region: str) -> Sequence[InstanceType]:
        """The machines on offer in a region. Takes seconds: the caller keeps the answer."""
        return types.offered(self.session(region))

    def advance_workspace(self, spec: WorkspaceSpec, handle: Handle, target: Target) -> Step:
        """One step of the deployment, under the lock, and its state into the bucket."""
        try:
            return self._advance_workspace(spec, handle, target)
        except CloudError as error:
            return Step({"steps": {}, **handle}, Failed(error))

    def advance_instance_role(self, spec: InstanceRoleSpec, handle: Handle, target: Target) -> Step:
        """One step toward a role of the customer's that machines can have, or one as it was before."""
        session, times = self.session(spec.workspace.region), {"poll": self.step_seconds, "lag": self.lag_seconds}
        return instance_roles.advance(session, self.configuration, spec, handle, target, **times)

    def files(self, handle: Handle) -> Files:
        """The shared filesystem of a workspace. Raises CloudError(FilesNotReady) where it has none yet."""
        arn = handle.get("steps", {}).get("files-function", {}).get("id")
        if not arn:
            message = "The workspace's files are not there yet."
            raise CloudError("FilesNotReady", message, "Wait until the workspace is ready.")
        return AwsFiles(self.session(arn.split(":")[3]), arn)

    def start(self, handle: Handle, process: Process) -> Ref:
        """Fill the run's mailbox, and tell the head machine."""
        return self._jobs.start(handle, process)

    def find(self, handle: Handle, process_id: str) -> Ref | None:
        """Look into the run's mailbox. What has not begun by then never will, unless it is started again."""
        return self._jobs.find(handle, process_id)

    def poll(self, refs: Sequence[Ref]) -> Sequence[Exit | None]:
        """Read how the runs ended, and look after those that go on."""
        return self._jobs.poll(refs)

    def stop(self, handle: Handle, ref: Ref) -> None:
        """Tell all machines of the cluster."""
        self._jobs.stop(ref)

    def logs(self, handle: Handle, ref: Ref, stream: LogStream, offset: int, limit: int) -> LogChunk:
        """Read a log in the bucket. It is there for as long as the bucket has it."""
        return self._logs.read(self._jobs.box_of(ref), stream, offset, limit)

    def search(self, handle: Handle, ref: Ref, stream: LogStream, text: str, offset: int, limit: int) -> LogMatches:
        """Read through a log."""
        box = self._jobs.box_of(ref)
        return logs.search(lambda at, length: self._logs.read(box, stream, at, length), text, offset, limit)

    def outputs(self, ref: Ref) -> Outputs:
        """What the run left in the bucket."""
        return Outputs(self._jobs.box_of(ref))

    def session(self, region: str) -> Session:
        """The customer's account in a region."""
        with self._lock:
            if region not in self._sessions:
                self._sessions[region] = self._new_session(region)
            return self._sessions[region]

    def _new_session(self, region: str) -> Session:
        return Session(region, role=self.configuration.role, endpoint=self.endpoint)

    def _advance_workspace(self, spec: WorkspaceSpec, handle: Handle, target: Target) -> Step:
        leaving = target is Target.TERMINATED
        session = self.session(spec.region)
        if "zones" not in handle and not leaving:
            zones = [] if spec.network else workspace.choose_zones(session)
            return Step({"steps": {}, **handle, "zones": zones}, Pending(plan.NOW))
        lock = self._take(spec, handle, leaving=leaving)
        if lock:
            handle = {**handle, "lock": lock.remembered()}
        work = workspace.work_of(session, spec, handle)
        steps = [] if leaving else workspace.wanted(work, self.configuration, handle["zones"], spec.network)
        known = workspace.known(work, self.configuration)
        step = plan.advance(steps, known, handle, poll=self.step_seconds, lag=self.lag_seconds)
        if lock:
            try:
                self._keep(lock, spec, handle, step, leaving=leaving)
            except CloudError as error:
                # What was made stays known whatever becomes of its copy.
                return Step(step.handle, Failed(error), step.events)
        if isinstance(step.outcome, Settled):
            step.handle.pop("lock", None)
        return step

    @property
    def _store(self) -> Store:
        return Store(self.session(self.configuration.region), self.configuration, self.holder)

    def _take(self, spec: WorkspaceSpec, handle: Handle, *, leaving: bool) -> Lock | None:
        """The lock: still held, or taken now. A removal goes on also where the customer removed the table before: what
        is left costs money."""
        held = Lock.recalled(f"workspaces/{spec.id}", handle.get("lock"))
        if held:
            return held
        try:
            return self._store.take(f"workspaces/{spec.id}", f"workspace {spec.name}")
        except CloudError as error:
            if leaving and error.code == "NotFound":
                return None
            raise

    def _keep(self, lock: Lock, spec: WorkspaceSpec, before: Handle, step: Step, *, leaving: bool) -> None:
        """Write the state where it tells something new; give the lock back when all is done."""
        settled = isinstance(step.outcome, Settled)
        try:
            if settled and leaving:
                self._store.forget(lock)
                return
            if settled or _ids(before) != _ids(step.handle):
                self._store.save(lock, "workspace", spec.name, step.handle)
            if settled:
                self._store.release(lock)
        except CloudError as error:
            if not (leaving and error.code == "NotFound"):
                raise


def _ids(handle: Handle) -> dict[str, Any]:
    return {name: entry["id"] for name, entry in handle.get("steps", {}).items() if entry["id"]}
