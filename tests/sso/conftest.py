"""The provider, started once, and an organization that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from tests.accounts.conftest import browser  # noqa: F401 - a fixture
from tests.sso.world import Acme, Provider, make_acme, running_provider


@pytest.fixture(scope="session")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider, settings: Settings) -> Iterator[Provider]:
    """Telling the truth, and within reach: it is on this machine."""
    settings.PORTAL_PRIVATE_ADDRESSES = "on"
    cache.clear()
    running.lie()
    yield running
    running.lie()


@pytest.fixture
def acme(db: None, provider: Provider) -> Acme:
    return make_acme(provider)
