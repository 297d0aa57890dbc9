"""What a cluster may be made of: what its cloud has, what its workspace offers, and what goes together."""

from __future__ import annotations

from collections.abc import Collection

from clusters.models import Cluster
from portal.errors import UserError
from workspaces.clouds import cloud_of
from workspaces.models import InstanceRole
from workspaces.offers import on_offer

SPOT_CANNOT_PAUSE = (
    "A spot cluster cannot be paused: the cloud may take its machines back at any time. Stop it instead."
)


def refuse_unfit(cluster: Cluster, changed: Collection[str]) -> None:
    """Look at what was chosen anew for a cluster, which need not be saved. Inside a transaction: its instance role is
    locked, so that nobody deletes it meanwhile.

    Raises UserError(SpotNotOffered, SpotCannotPause, ZoneNotOffered, RoleNotUsable).
    """
    features = cloud_of(cluster.workspace.cloud_configuration).features
    if "spot" in changed and cluster.spot and not features.spot:
        raise UserError("SpotNotOffered", "This cloud has no spot instances.", "Leave that out.", status=422)
    if cluster.spot and cluster.auto_pause_minutes and {"spot", "auto_pause_minutes"} & set(changed):
        raise UserError(
            "SpotCannotPause",
            "A spot cluster cannot pause.",
            "Set auto-pause to 0, and auto-stop to the minutes after which its machines may go.",
            status=422,
        )
    if "zone" in changed and cluster.zone:
        _refuse_zone(cluster, offered=features.zones)
    if "instance_role" in changed and cluster.instance_role is not None:
        _refuse_role(cluster, cluster.instance_role)


def _refuse_zone(cluster: Cluster, *, offered: bool) -> None:
    zones = on_offer(cluster.workspace).zones if offered else ()
    if cluster.zone not in zones:
        raise UserError(
            "ZoneNotOffered",
            f"The workspace {cluster.workspace} has no zone {cluster.zone}.",
            f"Choose one of {', '.join(zones)}." if zones else "Leave the choice to the platform.",
            status=422,
        )


def _refuse_role(cluster: Cluster, role: InstanceRole) -> None:
    usable = InstanceRole.objects.in_workspace(cluster.workspace).usable()
    if not usable.select_for_update().filter(pk=role.pk).exists():
        raise UserError(
            "RoleNotUsable",
            f"The instance role {role} is not ACTIVE in the workspace {cluster.workspace}.",
            "Choose another, or see what its page below the settings of the workspace says.",
            status=422,
        )
