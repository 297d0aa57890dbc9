"""One moto for all tests of a worker, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clouds.aws.cloud import Aws, running


@pytest.fixture(scope="session")
def _server() -> Iterator[Aws]:
    with running() as aws:
        yield aws


@pytest.fixture
def aws(_server: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """AWS, empty. The portal's own identity is in the environment, as an operator would put it there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "portal")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "portal")
    _server.reset()
    return _server
