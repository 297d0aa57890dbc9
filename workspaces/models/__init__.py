"""The tables of the workspaces app, a module for each subject."""

from workspaces.models.clouds import CloudConfiguration, CloudConfigurationQuerySet, Provider
from workspaces.models.workspaces import (
    TRANSITIONS,
    Workspace,
    WorkspaceMembership,
    WorkspaceMembershipQuerySet,
    WorkspaceQuerySet,
    WorkspaceStatus,
)

__all__ = [
    "TRANSITIONS",
    "CloudConfiguration",
    "CloudConfigurationQuerySet",
    "Provider",
    "Workspace",
    "WorkspaceMembership",
    "WorkspaceMembershipQuerySet",
    "WorkspaceQuerySet",
    "WorkspaceStatus",
]
