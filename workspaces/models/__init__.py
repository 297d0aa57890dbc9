"""The tables of the workspaces app, a module for each subject."""

from workspaces.models.catalogs import Catalog, CatalogKind, CatalogQuerySet
from workspaces.models.clouds import CloudConfiguration, CloudConfigurationQuerySet, Provider
from workspaces.models.secrets import Secret, SecretGroup, SecretGroupQuerySet, SecretQuerySet
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
    "Catalog",
    "CatalogKind",
    "CatalogQuerySet",
    "CloudConfiguration",
    "CloudConfigurationQuerySet",
    "Provider",
    "Secret",
    "SecretGroup",
    "SecretGroupQuerySet",
    "SecretQuerySet",
    "Workspace",
    "WorkspaceMembership",
    "WorkspaceMembershipQuerySet",
    "WorkspaceQuerySet",
    "WorkspaceStatus",
]
