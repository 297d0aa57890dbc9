"""One moto for all tests of a worker, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clouds.aws import shim_lambda
from tests.clouds.aws.cloud import Aws, running


@pytest.fixture(scope="session")
def moto() -> Iterator[Aws]:
    with pytest.MonkeyPatch.context() as patch, running() as aws:
        # Moto reads its machines and images when EC2 is first asked for, and tests share a busy machine.
        patch.setattr("portal.clouds.aws.session.READ_SECONDS", 60)
        # It shows at once what it made. Waiting for what is lost has tests of its own (tests/clouds/test_plan.py).
        patch.setattr("portal.clouds.aws.onboarding.LAG_SECONDS", 0)
        yield aws


@pytest.fixture
def aws(moto: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """AWS, empty."""
    moto.identify(monkeypatch)
    moto.reset()
    shim_lambda.FUNCTIONS.forget()
    return moto
