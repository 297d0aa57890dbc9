"""From a cloud configuration to the provider behind it. The only place that knows which providers there are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from uuid import UUID

from django.conf import settings

from portal.clouds.base import Cloud
from portal.clouds.local.launch import Limits
from portal.clouds.local.provider import LocalCloud
from workspaces.models import CloudConfiguration


def cloud_of(configuration: CloudConfiguration) -> Cloud:
    """The provider of a configuration, reused between calls."""
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
