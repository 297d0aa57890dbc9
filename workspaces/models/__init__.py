"""The tables of the workspaces app, a module for each subject."""

from workspaces.models.catalogs import Catalog, CatalogKind, CatalogQuerySet
from workspaces.models.clouds import (
    CONFIGURATION_TRANSITIONS,
    CloudConfiguration,
    CloudConfigurationQuerySet,
    ConfigurationStatus,
    Provider,
    Way,
)
from workspaces.models.networks import NetworkConfiguration, NetworkConfigurationQuerySet
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
    "CONFIGURATION_TRANSITIONS",
    "TRANSITIONS",
    "Catalog",
    "CatalogKind",
    "CatalogQuerySet",
    "CloudConfiguration",
    "CloudConfigurationQuerySet",
    "ConfigurationStatus",
    "NetworkConfiguration",
    "NetworkConfigurationQuerySet",
    "Provider",
    "Secret",
    "SecretGroup",
    "SecretGroupQuerySet",
    "SecretQuerySet",
    "Way",
    "Workspace",
    "WorkspaceMembership",
    "WorkspaceMembershipQuerySet",
    "WorkspaceQuerySet",
    "WorkspaceStatus",
]
