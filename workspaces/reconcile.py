"""How a workspace is made true."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from portal import events
from portal.clouds.base import CloudError, Pending, Settled, Step, Target
from portal.reconcile import Machine
from workspaces import hooks, offers
from workspaces.clouds import cloud_of
from workspaces.models import TRANSITIONS, InstanceRole, Workspace, WorkspaceStatus

GOING_FIRST = 1.0
"""Seconds until a workspace looks again whether what stands in it is gone."""

RETRY_REMOVAL = timedelta(seconds=60)


def set_status(workspace: Workspace, status: str) -> None:
    """Move along TRANSITIONS; a move that is not in the table is a mistake of ours."""
    if status == workspace.status:
        return
    if status not in TRANSITIONS[workspace.status]:
        raise RuntimeError(f"A workspace does not go from {workspace.status} to {status}.")
    workspace.status = status


class WorkspaceMachine(Machine[Workspace]):
    """NEW → INPROGRESS → READY → TERMINATING → TERMINATED, or FAILED."""

    name = "workspace"
    model = Workspace

    def load(self, pk: str) -> Workspace | None:
        """The workspace with its configuration."""
        return Workspace.objects.select_related("cloud_configuration", "network").filter(pk=pk).first()

    def advance(self, row: Workspace) -> Step:
        """One step of the deployment; what stands in it goes first, and what was added to instance roles comes off."""
        roles = InstanceRole.objects.in_workspace(row)
        if row.target == Target.TERMINATED and (roles.exists() or any(stands(row) for stands in hooks.going_first)):
            return Step(row.handle, Pending(GOING_FIRST))
        return cloud_of(row.cloud_configuration).advance_workspace(row.spec(), row.handle, Target(row.target))

    def apply(self, row: Workspace, step: Step) -> None:
        """Statuses by the target."""
        leaving = row.target == Target.TERMINATED
        if leaving:
            set_status(row, WorkspaceStatus.TERMINATING)
        match step.outcome:
            case Pending() if not leaving and row.status != WorkspaceStatus.READY:
                set_status(row, WorkspaceStatus.INPROGRESS)
            case Settled():
                set_status(row, WorkspaceStatus.TERMINATED if leaving else WorkspaceStatus.READY)
                row.progress_message, row.progress = "", None
        row.failure_code = row.failure_message = row.failure_hint = ""

    def fail(self, row: Workspace, error: CloudError) -> None:
        """The reason stays on the page until somebody deletes the workspace. A removal that fails is tried again for as
        long as it takes: what is left would go on costing money."""
        if row.target == Target.TERMINATED:
            set_status(row, WorkspaceStatus.TERMINATING)
            row.due_at = timezone.now() + RETRY_REMOVAL
            row.progress_message = f"{error.message} Trying again every minute."[:500]
        else:
            set_status(row, WorkspaceStatus.FAILED)
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: Workspace) -> None:
        """Tell the pages of the organization, and those in the workspace; ask what it can have, once it is READY."""
        events.notify(row.organization_id, f"workspace-{row.pk}")
        events.notify(row.pk, f"workspace-{row.pk}")
        offers.workspace_saved(row)
