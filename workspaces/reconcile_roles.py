"""How the registration of an instance role is made true."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from portal import events
from portal.clouds.base import CloudError, Pending, Settled, Step, Target
from portal.reconcile import Machine
from workspaces.clouds import cloud_of
from workspaces.models import ROLE_TRANSITIONS, InstanceRole, InstanceRoleStatus

RETRY_REMOVAL = timedelta(seconds=60)
S = InstanceRoleStatus


def set_status(role: InstanceRole, status: str) -> None:
    """Move along ROLE_TRANSITIONS; a move that is not in the table is a mistake of ours."""
    if status == role.status:
        return
    if status not in ROLE_TRANSITIONS[role.status]:
        raise RuntimeError(f"An instance role does not go from {role.status} to {status}.")
    role.status = status


class InstanceRoleMachine(Machine[InstanceRole]):
    """NEW → INPROGRESS → ACTIVE → TERMINATING → TERMINATED, or FAILED with the reason."""

    name = "instancerole"
    model = InstanceRole

    def load(self, pk: str) -> InstanceRole | None:
        """The role with all that its cloud needs."""
        rows = InstanceRole.objects.select_related("workspace__cloud_configuration", "workspace__network")
        return rows.filter(pk=pk).first()

    def advance(self, row: InstanceRole) -> Step:
        """One step of the registration."""
        cloud = cloud_of(row.workspace.cloud_configuration)
        return cloud.advance_instance_role(row.spec(), row.handle, Target(row.target))

    def apply(self, row: InstanceRole, step: Step) -> None:
        """Statuses by the target."""
        leaving = row.target == Target.TERMINATED
        if leaving:
            set_status(row, S.TERMINATING)
        match step.outcome:
            case Pending() if not leaving and row.status != S.ACTIVE:
                set_status(row, S.INPROGRESS)
            case Settled():
                set_status(row, S.TERMINATED if leaving else S.ACTIVE)
                row.progress_message, row.progress = "", None
        row.failure_code = row.failure_message = row.failure_hint = ""

    def fail(self, row: InstanceRole, error: CloudError) -> None:
        """The reason stays until somebody tries again or deletes it. A removal is tried for as long as it takes: what
        was added to a customer's role has to come off it."""
        if row.target == Target.TERMINATED:
            set_status(row, S.TERMINATING)
            row.due_at = timezone.now() + RETRY_REMOVAL
            row.progress_message = f"{error.message} Trying again every minute."[:500]
        else:
            set_status(row, S.FAILED)
            row.progress_message, row.progress = "", None
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: InstanceRole) -> None:
        """Tell the workspace's pages."""
        events.notify(row.workspace_id, f"{self.name}-{row.pk}")
