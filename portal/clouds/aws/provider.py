"""AWS: workspaces in a customer's account, made in a role that the customer lends.

A deployment is a plan of steps (``portal.clouds.plan``); its copy for people is in the customer's bucket, under a lock
in the customer's table (``state``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from portal.clouds import logs, plan
from portal.clouds.aws import bootstrap, checks, doctor, instance_roles, observe, own_network, types, workspace
from portal.clouds.aws.cluster import Clusters
from portal.clouds.aws.configuration import REGIONS, Configuration
from portal.clouds.aws.deployment import Deployment
from portal.clouds.aws.files import AwsFiles
from portal.clouds.aws.jobs import Jobs
from portal.clouds.aws.orphans import Finder
from portal.clouds.aws.run_logs import Logs
from portal.clouds.aws.run_outputs import Outputs
from portal.clouds.aws.session import Session
from portal.clouds.aws.state import Store
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
    Observation,
    Orphan,
    Owned,
    Pending,
    Process,
    Ref,
    Release,
    Step,
    Target,
    WorkspaceSpec,
)
from portal.clouds.lacking import Lacking
from portal.clouds.local.releases import offered_versions


class AwsCloud(Lacking):
    """One AWS cloud configuration. ``holder`` is what people know this portal by; ``endpoint`` replaces AWS."""

    poll_seconds = 2.0
    observe_seconds = 30.0
    step_seconds = 3.0
    """How often it is worth looking at something that AWS is making."""

    lag_seconds = 15.0
    """How long AWS may not show what it just made."""

    catalogue_seconds = 24 * 3600.0
    features = Features(
        spot=True,
        zones=True,
        instance_roles=True,
        networks=True,
        orphans=True,
        workspace_checks=True,
        fast_network="EFA",
        role="Role ARN",
    )

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

    def zones_of(self, workspace_handle: Handle) -> Sequence[str]:
        """Those in which the workspace has subnets; with a network of the customer's own, a launch is checked."""
        return list(workspace_handle.get("zones", []))

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

    def log_link(self, ref: Ref, stream: LogStream, name: str) -> str | None:
        """An address at S3. None where the machine could not send the log in one piece."""
        box = self._jobs.box_of(ref)
        return box.link(f"{stream.value}.log", name) if box.head(f"{stream.value}.log") else None

    def outputs(self, ref: Ref) -> Outputs:
        """What the run left in the bucket."""
        return Outputs(self._jobs.box_of(ref))

    def advance_cluster(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        """One step of the deployment, under the lock, and its state into the bucket."""
        session = self.session(spec.workspace.region)
        clusters = Clusters(session, self.configuration, self._store, self.step_seconds, self.lag_seconds)
        try:
            return clusters.advance(spec, handle, target)
        except CloudError as error:
            return Step({"steps": {}, **handle}, Failed(error))

    def observe_clusters(self, handles: Sequence[Handle]) -> Sequence[Observation]:
        """What is there now: two lists for each region."""
        found: dict[int, Observation] = {}
        regions = {str(handle.get("region", self.configuration.region)) for handle in handles}
        for region in sorted(regions):
            mine = [
                (index, handle)
                for index, handle in enumerate(handles)
                if handle.get("region", self.configuration.region) == region
            ]
            seen = observe.observe(self.session(region), [handle for _, handle in mine])
            found.update(zip((index for index, _ in mine), seen, strict=True))
        return [found[index] for index in range(len(handles))]

    def releases(self) -> Sequence[Release]:
        """The releases with pinned requirements; machines install them when they begin."""
        return [Release(version) for version in offered_versions()]

    def find_orphans(self, owned: Sequence[Owned]) -> Sequence[Orphan]:
        """What carries our tags in any of our regions and stands in none of the handles."""
        return self._finder.find(owned)

    def remove_orphan(self, orphan: Orphan) -> bool:
        """Go on removing; True once it is absent."""
        return self._finder.remove(orphan)

    def adopt_orphan(self, orphan: Orphan, handle: Handle) -> Handle:
        """The handle of its workspace with the orphan in it. Raises CloudError(NotAdoptable)."""
        return self._finder.adopt(orphan, handle)

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
        deployment = Deployment(self._store, f"workspaces/{spec.id}", "workspace", spec.name, leaving, leaving)

        def move(handle: Handle) -> Step:
            if leaving and not handle.get("steps"):
                bootstrap.remove_software(self._store.session, self.configuration, spec.id)
            work = workspace.work_of(session, spec, handle)
            steps = [] if leaving else workspace.wanted(work, self.configuration, handle["zones"], spec.network)
            known = workspace.known(work, self.configuration)
            return plan.advance(steps, known, handle, poll=self.step_seconds, lag=self.lag_seconds)

        return deployment.advance(handle, move)

    @property
    def _finder(self) -> Finder:
        return Finder(self.session, self.configuration, self._store)

    @property
    def _store(self) -> Store:
        return Store(self.session(self.configuration.region), self.configuration, self.holder)
