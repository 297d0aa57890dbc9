"""The world of two tenants, and AWS."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.clouds.aws.cloud import PLATFORM, Aws
from tests.clouds.aws.conftest import aws, moto
from tests.pages.conftest import tenants

__all__ = ["aws", "moto", "offered", "tenants"]


@pytest.fixture
def offered(aws: Aws, settings: Settings) -> Aws:
    """AWS, offered to the organizations of the portal."""
    settings.PORTAL_AWS, settings.PORTAL_AWS_ENDPOINT, settings.PORTAL_AWS_ACCOUNT = True, aws.address, PLATFORM
    return aws
