"""Each write to cloud configurations as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from django.test import override_settings

from portal.clouds.aws.session import Keys
from portal.clouds.base import Check, Handle, Network, Orphan
from tests.factories import (
    make_aws_configuration,
    make_configuration,
    make_lost_thing,
    make_network,
    make_workspace,
)
from tests.pages.world import Tenants
from workspaces import services_configurations as configurations
from workspaces import services_networks as networks
from workspaces import services_orphans as orphans
from workspaces.models import CloudConfiguration, LostThing

MADE = {"region": "us-east-2", "bucket": "metadata", "table": "locks", "role_arn": "arn:aws:iam::222222222222:role/R"}
KEYS = Keys("AKIANOTINANYLOG00000", "not-in-any-log-0123456789abcdef0123456789")


class Good:
    """An account in which all is well."""

    def check(self) -> list[Check]:
        return [Check("Role", True, "AWS lends it.")]


def _good(write: Callable[..., object], **given: Any) -> object:
    with patch("workspaces.services_configurations.aws_cloud", lambda _: Good()):
        return write(**given)


def _new(t: Tenants, way: str, **fields: Any) -> CloudConfiguration:
    return make_aws_configuration(t.acme, way=way, status="SETUP", settings={"region": "us-east-2"}, **fields)


def _create(**given: Any) -> CloudConfiguration:
    with override_settings(PORTAL_AWS=True):
        return configurations.create_aws_configuration(**given)


class Fitting:
    """A cloud that takes any network."""

    def check_network(self, region: str, network: Network) -> list[Check]:
        return [Check("VPC", True, "It is there.")]


def _network(**given: Any) -> object:
    with patch("workspaces.services_networks.cloud_of", lambda _: Fitting()):
        return networks.create_network(**given)


NETWORK = Network("vpc-1", ["subnet-1", "subnet-2"], ["sg-1"])


def _remove(thing: LostThing, by: dict[str, Any]) -> object:
    return orphans.remove_orphans(**by, configuration=thing.search.configuration, things=[thing.pk])


class Adopts:
    """An account in which whatever is lost is found again."""

    def adopt_orphan(self, orphan: Orphan, handle: Handle) -> Handle:
        return {**handle, "steps": {orphan.step: {"id": orphan.id, "state": "created", "fingerprint": "", "order": 1}}}


def _adopt(t: Tenants, by: dict[str, Any]) -> object:
    workspace = make_workspace(t.acme, t.configuration)
    thing = make_lost_thing(t.configuration, deployment=str(workspace.pk), adoptable=True)
    with patch("workspaces.services_orphans.cloud_of", lambda _: Adopts()):
        return orphans.adopt_orphan(**by, configuration=t.configuration, thing=thing)


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "workspaces.services_configurations.create_local_configuration": (
        "cloud_configuration.create",
        lambda t, by: configurations.create_local_configuration(**by, organization=t.acme, name="New", directory=""),
    ),
    "workspaces.services_configurations.create_aws_configuration": (
        "cloud_configuration.create",
        lambda t, by: _create(**by, organization=t.acme, name="New", region="us-east-2", way="MANUAL"),
    ),
    "workspaces.services_configurations.validate_by_hand": (
        "cloud_configuration.validate",
        lambda t, by: _good(configurations.validate_by_hand, **by, configuration=_new(t, "MANUAL"), values=MADE),
    ),
    "workspaces.services_configurations.connect_by_hand": (
        "cloud_configuration.connect",
        lambda t, by: _good(configurations.connect_by_hand, **by, configuration=_new(t, "MANUAL"), values=MADE),
    ),
    "workspaces.services_configurations.validate_configuration": (
        "cloud_configuration.validate",
        lambda t, by: _good(configurations.validate_configuration, **by, configuration=make_aws_configuration(t.acme)),
    ),
    "workspaces.services_configurations.connect_with_keys": (
        "cloud_configuration.connect",
        lambda t, by: configurations.connect_with_keys(**by, configuration=_new(t, "KEYS"), keys=KEYS),
    ),
    "workspaces.services_configurations.connect_by_stack": (
        "cloud_configuration.connect",
        lambda t, by: configurations.connect_by_stack(**by, configuration=_new(t, "STACK"), account="222222222222"),
    ),
    "workspaces.services_orphans.search_orphans": (
        "orphans.search",
        lambda t, by: orphans.search_orphans(**by, configuration=make_configuration(t.acme)),
    ),
    "workspaces.services_orphans.remove_orphans": (
        "orphans.remove",
        lambda t, by: _remove(make_lost_thing(make_configuration(t.acme)), by),
    ),
    "workspaces.services_orphans.adopt_orphan": (
        "orphans.adopt",
        lambda t, by: _adopt(t, by),
    ),
    "workspaces.services_configurations.delete_configuration": (
        "cloud_configuration.delete",
        lambda t, by: configurations.delete_configuration(**by, configuration=make_configuration(t.acme)),
    ),
    "workspaces.services_networks.create_network": (
        "network.create",
        lambda t, by: _network(**by, configuration=t.configuration, name="New", region="us-east-2", network=NETWORK),
    ),
    "workspaces.services_networks.delete_network": (
        "network.delete",
        lambda t, by: networks.delete_network(**by, network=make_network(t.configuration)),
    ),
}

MAKES_ITS_OWN = (
    *("validate_by_hand", "connect_by_hand", "validate_configuration", "connect_with_keys", "connect_by_stack"),
    *("delete_configuration", "delete_network", "search_orphans", "remove_orphans", "adopt_orphan"),
)
