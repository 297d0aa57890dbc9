"""The world of two tenants."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.cache import cache
from pytest_django import Settings

from portal.clouds.base import Check
from tests.pages.world import Tenants, make_tenants


@pytest.fixture(autouse=True)
def no_tries_before() -> None:
    """Public forms are limited by address, and all tests have the same one."""
    cache.clear()


@pytest.fixture
def tenants(db: None, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Tenants:
    settings.PORTAL_LOCAL_ROOTS = [tmp_path]
    monkeypatch.setattr("portal.clouds.local.checks._environments", lambda python: Check("Python", True, "as it is"))
    return make_tenants(tmp_path)
