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
from workspaces.models.offers import Offers
from workspaces.models.orphans import LostStatus, LostThing, LostThingQuerySet, OrphanSearch
from workspaces.models.roles import ROLE_TRANSITIONS, InstanceRole, InstanceRoleQuerySet, InstanceRoleStatus
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
    "ROLE_TRANSITIONS",
    "TRANSITIONS",
    "Catalog",
    "CatalogKind",
    "CatalogQuerySet",
    "CloudConfiguration",
    "CloudConfigurationQuerySet",
    "ConfigurationStatus",
    "InstanceRole",
    "InstanceRoleQuerySet",
    "InstanceRoleStatus",
    "LostStatus",
    "LostThing",
    "LostThingQuerySet",
    "NetworkConfiguration",
    "NetworkConfigurationQuerySet",
    "Offers",
    "OrphanSearch",
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
