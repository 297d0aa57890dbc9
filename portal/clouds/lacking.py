"""What a provider answers that offers nothing beyond the least (``Features``)."""

from __future__ import annotations

from collections.abc import Sequence

from portal.clouds.base import (
    Check,
    CloudError,
    ClusterSpec,
    Failed,
    Features,
    Handle,
    InstanceRoleSpec,
    LogStream,
    Network,
    NotebookAddress,
    NotebookObservation,
    NotebookSize,
    NotebookSpec,
    Orphan,
    Owned,
    Ref,
    Release,
    Settled,
    Step,
    Target,
    WorkspaceSpec,
)


class Lacking:
    """The rest of a ``Cloud``; a provider overrides what it has."""

    features = Features()
    catalogue_seconds = 0.0

    def zones_of(self, workspace_handle: Handle) -> Sequence[str]:
        """Any of its region."""
        return []

    def check_network(self, region: str, network: Network) -> Sequence[Check]:
        """It has no networks of the customer's own."""
        error = _not_offered("Networks of your own")
        return [Check("Network", False, error.message, error.hint)]

    def check_workspace(self, spec: WorkspaceSpec) -> Sequence[Check]:
        """Nothing can be known before."""
        return []

    def check_cluster(self, spec: ClusterSpec) -> Sequence[Check]:
        """Nothing can be known before."""
        return []

    def log_link(self, ref: Ref, stream: LogStream, name: str) -> str | None:
        """None: the portal has to bring it."""
        return None

    def advance_instance_role(self, spec: InstanceRoleSpec, handle: Handle, target: Target) -> Step:
        """It has no roles; there is nothing to remove."""
        if target is Target.TERMINATED:
            return Step(handle, Settled())
        return Step(handle, Failed(_not_offered("Instance roles")))

    def notebook_images(self) -> Sequence[Release]:
        """None."""
        return []

    def notebook_sizes(self, region: str) -> Sequence[NotebookSize]:
        """None."""
        return []

    def advance_notebook(self, spec: NotebookSpec, handle: Handle, target: Target) -> Step:
        """It has no notebook servers; there is nothing to stop or remove."""
        return Step(handle, Failed(_not_offered("Notebooks")) if target is Target.RUNNING else Settled())

    def observe_notebooks(self, handles: Sequence[Handle]) -> Sequence[NotebookObservation]:
        """None lives."""
        return [NotebookObservation(alive=False) for _ in handles]

    def notebook_address(self, handle: Handle) -> NotebookAddress:
        """None listens."""
        raise _not_offered("Notebooks")

    def find_orphans(self, owned: Sequence[Owned]) -> Sequence[Orphan]:
        """None that it could find."""
        return []

    def remove_orphan(self, orphan: Orphan) -> bool:
        """It finds none."""
        raise _not_offered("The search for what has no record")

    def adopt_orphan(self, orphan: Orphan, handle: Handle) -> Handle:
        """It finds none."""
        raise _not_offered("The search for what has no record")


def _not_offered(what: str) -> CloudError:
    return CloudError("NotOffered", f"{what} cannot be had on this cloud.", "Choose another cloud.", permanent=True)
