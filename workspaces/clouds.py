"""From a cloud configuration to the provider behind it. The only place that knows which providers there are."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import cast
from uuid import UUID

from django.conf import settings

from portal.clouds.aws.configuration import REGIONS, Configuration
from portal.clouds.aws.provider import AwsCloud
from portal.clouds.aws.session import Session
from portal.clouds.base import Cloud
from portal.clouds.local.launch import Limits
from portal.clouds.local.provider import LocalCloud
from workspaces.models import CloudConfiguration, Provider


def cloud_of(configuration: CloudConfiguration) -> Cloud:
    """The provider of a configuration, reused between calls. On AWS its settings have to be complete."""
    if configuration.provider == Provider.AWS:
        return cast(Cloud, _aws(configuration.pk, aws_configuration(configuration), settings.PORTAL_AWS_ENDPOINT))
    return _local(configuration.pk, configuration.settings["directory"])


@lru_cache(maxsize=1000)
def _local(configuration_id: UUID, directory: str) -> Cloud:
    return local_cloud(directory)


def local_cloud(directory: str) -> LocalCloud:
    """The LOCAL provider over a directory of this machine."""
    return LocalCloud(
        root=Path(directory),
        machine_root=settings.PORTAL_MACHINE_ROOT,
        capacity_factor=settings.PORTAL_LOCAL_CAPACITY,
        hidden=[settings.PORTAL_HOME, settings.BASE_DIR, *settings.PORTAL_LOCAL_ROOTS],
        limits=Limits(settings.PORTAL_LOCAL_DISK_RESERVE, settings.PORTAL_LOCAL_LOG_LIMIT),
    )


def offered_clouds() -> list[Provider]:
    """Where configurations can be made, as the operator allows."""
    offered = {Provider.LOCAL: settings.PORTAL_LOCAL_CLOUD, Provider.AWS: settings.PORTAL_AWS}
    return [provider for provider, allowed in offered.items() if allowed]


def aws_cloud(configuration: Configuration) -> AwsCloud:
    """The AWS provider over what is known of a customer's account."""
    return AwsCloud(configuration, settings.SITE_URL, settings.PORTAL_AWS_ENDPOINT)


@lru_cache(maxsize=1000)
def _aws(configuration_id: UUID, configuration: Configuration, endpoint: str) -> AwsCloud:
    return aws_cloud(configuration)


def aws_session(configuration: CloudConfiguration, region: str) -> Session:
    """A customer's account on AWS in one region, as the provider speaks to it."""
    known = aws_configuration(configuration)
    return _aws(configuration.pk, known, settings.PORTAL_AWS_ENDPOINT).session(region)


def aws_configuration(configuration: CloudConfiguration) -> Configuration:
    """What the provider is told of a configuration; what is not known yet is empty."""
    known = configuration.settings
    return Configuration(
        role_arn=known.get("role_arn", ""),
        external_id=configuration.external_id or "",
        region=known.get("region", REGIONS[0]),
        bucket=known.get("bucket", ""),
        table=known.get("table", ""),
    )


def platform_account() -> str:
    """The twelve digits of the portal's own AWS account. Raises CloudError where AWS cannot say."""
    return settings.PORTAL_AWS_ACCOUNT or _own_account(settings.PORTAL_AWS_ENDPOINT)


@cache
def _own_account(endpoint: str) -> str:
    return Session(REGIONS[0], endpoint=endpoint).account()
