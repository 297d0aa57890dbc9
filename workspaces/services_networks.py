"""Every write to network configurations."""

from __future__ import annotations

from dataclasses import asdict

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from portal.clouds.base import Check, Network
from portal.errors import UserError
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration, ConfigurationStatus, NetworkConfiguration, WorkspaceStatus


class ChecksFailedError(UserError):
    """A network that cannot be used, with the checks that say why."""

    def __init__(self, checks: list[Check]) -> None:
        hint = "Do what each says, then validate again."
        super().__init__("ChecksFailed", "Some checks failed.", hint, status=422)
        self.checks = checks


def validate_network(*, configuration: CloudConfiguration, region: str, network: Network) -> list[Check]:
    """The named checks of a network. Writes nothing."""
    return list(cloud_of(configuration).check_network(region, network))


def create_network(
    *, actor: Actor, configuration: CloudConfiguration, name: str, region: str, network: Network
) -> NetworkConfiguration:
    """A network, checked first. Raises ChecksFailedError, UserError(NameTaken, ConfigurationGone)."""
    checks = validate_network(configuration=configuration, region=region, network=network)
    if not all(check.passed for check in checks):
        raise ChecksFailedError(checks)
    with transaction.atomic():
        ready = CloudConfiguration.objects.filter(deleted_at=None, status=ConfigurationStatus.READY)
        locked = ready.select_for_update().filter(pk=configuration.pk).first()
        if locked is None:
            hint = "Choose another one."
            raise UserError("ConfigurationGone", "The cloud configuration was deleted meanwhile.", hint)
        row = NetworkConfiguration(
            organization=locked.organization,
            cloud_configuration=locked,
            name=name,
            region=region,
            vpc=network.id,
            subnets=list(network.subnets),
            security_groups=list(network.security_groups),
            endpoints=dict(network.endpoints),
            checks=[asdict(check) for check in checks],
            created_by=actor.user,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise UserError("NameTaken", "A network of this name exists.", "Choose another name.") from None
        audit.record(actor, "network.create", row, organization=row.organization, after=_state(row))
    return row


@transaction.atomic
def delete_network(*, actor: Actor, network: NetworkConfiguration) -> None:
    """Forget a network; nothing of it is removed in the cloud. Raises UserError(NetworkInUse)."""
    row = NetworkConfiguration.objects.select_for_update().get(pk=network.pk)
    names = row.workspaces.exclude(status=WorkspaceStatus.TERMINATED).values_list("name", flat=True)
    if names:
        raise UserError(
            "NetworkInUse",
            f"{row} is used by the workspaces {', '.join(names[:10])}.",
            "Delete them first, then the network.",
        )
    row.deleted_at = timezone.now()
    row.save(update_fields=["deleted_at"])
    audit.record(actor, "network.delete", row, organization=row.organization, before=_state(row))


def _state(row: NetworkConfiguration) -> dict[str, object]:
    return {
        "cloud_configuration": row.cloud_configuration.name,
        "region": row.region,
        "vpc": row.vpc,
        "subnets": row.subnets,
        "security_groups": row.security_groups,
        "endpoints": row.endpoints,
    }
