"""The machines on offer."""

from __future__ import annotations

import pytest

from portal.clouds.aws import types
from portal.clouds.base import InstanceType
from tests.clouds.aws.cloud import Aws


@pytest.fixture(scope="module")
def offered(moto: Aws) -> dict[str, InstanceType]:
    """Asked once: it is long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "portal")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "portal")
        found = types.offered(moto.administrator())
    assert found == sorted(found, key=lambda each: (each.vcpus, each.memory, each.name))
    return {each.name: each for each in found}


@pytest.mark.parametrize(
    ("name", "vcpus", "cores", "gibibytes", "fast"),
    [
        ("i4i.xlarge", 4, 2, 32, False),
        ("i4i.32xlarge", 128, 64, 1024, True),
        ("c6i.32xlarge", 128, 64, 256, True),
        ("hpc6a.48xlarge", 96, 96, 384, True),
    ],
)
def test_what_they_are(
    offered: dict[str, InstanceType], name: str, vcpus: int, cores: int, gibibytes: int, fast: bool
) -> None:
    assert offered[name] == InstanceType(name, vcpus, cores, gibibytes * 1024, fast)


def test_what_bodo_does_not_run_on_is_left_out(offered: dict[str, InstanceType]) -> None:
    assert not {"c7g.4xlarge", "m6g.large", "c5.metal", "m3.large", "t3.micro"} & set(offered)
    assert len(offered) > 300
