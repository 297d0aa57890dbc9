"""A process ends before and after each call that changes something; whoever comes next leaves nothing twice and, in the
end, nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from portal.clouds.aws.grants_clusters import CLUSTERS
from portal.clouds.aws.permissions import GRANTS
from portal.clouds.base import Handle, Target
from tests.clouds.aws.cloud import Aws
from tests.clouds.aws.shim_clusters import region_of
from tests.clouds.aws.test_cluster import WHOLE, ids, things
from tests.clouds.aws.world_clusters import ClusterWorld, new_cluster_world

RUNNING, PAUSED, STOPPED, TERMINATED = Target.RUNNING, Target.PAUSED, Target.STOPPED, Target.TERMINATED


@pytest.fixture
def world(aws: Aws) -> ClusterWorld:
    return new_cluster_world(aws)


def dying(world: ClusterWorld, target: Target, handle: Handle) -> tuple[Handle, int]:
    """Each process dies at its first call, before or after its effect, or at its second: some calls can be repeated
    without being found, and would be the first one for ever."""
    for deaths in range(200):
        at, after = divmod(deaths % 4, 2)
        handle, died = world.until_death(at, bool(after), target, handle)
        if not died:
            return handle, deaths
    raise AssertionError("does not get on")


def test_the_whole_life_with_a_death_at_every_call(world: ClusterWorld) -> None:
    handle, deaths = dying(world, RUNNING, {})
    assert things(world) == WHOLE
    total = deaths
    world.instances = 4
    grown, deaths = dying(world, RUNNING, handle)
    assert ids(grown)[:2] == ids(handle)
    assert things(world)["running"] == 4
    total += deaths
    world.instances = 2
    handle, deaths = dying(world, RUNNING, grown)
    assert ids(handle) == ids(grown)[:2]
    assert things(world) == WHOLE
    total += deaths
    handle, deaths = dying(world, PAUSED, handle)
    assert things(world)["stopped"] == 2
    total += deaths
    resumed, deaths = dying(world, RUNNING, handle)
    assert ids(resumed) == ids(handle)
    assert things(world) == WHOLE
    total += deaths
    handle, deaths = dying(world, STOPPED, resumed)
    assert things(world) == {}
    total += deaths
    handle = world.go(handle=handle)
    assert dying(world, TERMINATED, handle)[0]["steps"] == {}
    assert things(world) == {}
    assert total > 30


def test_death_in_the_search_for_a_zone(world: ClusterWorld) -> None:
    region_of().stock = {"us-east-2a": 1, "us-east-2b": 0}
    handle, deaths = dying(world, RUNNING, {})
    assert deaths > 12
    assert things(world) == WHOLE
    world.go(TERMINATED, handle)
    assert things(world) == {}


def grown(world: ClusterWorld, handle: Handle) -> None:
    world.instances = 3


def as_it_was(world: ClusterWorld, handle: Handle) -> None:
    pass


WAYS: dict[str, tuple[list[Target], Callable[[ClusterWorld, Handle], None], Target]] = {
    "create": ([], as_it_was, RUNNING),
    "grow": ([RUNNING], grown, RUNNING),
    "pause": ([RUNNING], as_it_was, PAUSED),
    "resume": ([RUNNING, PAUSED], as_it_was, RUNNING),
    "delete": ([RUNNING], as_it_was, TERMINATED),
}


@pytest.mark.parametrize("way", WAYS)
def test_whoever_removes_after_a_death_leaves_nothing(world: ClusterWorld, way: str) -> None:
    """For each call: the process dies at it, before or after its effect, and the cluster is deleted, at once or after
    another process went on for one step."""
    before, change, target = WAYS[way]
    for number in range(40):
        for after in (False, True):
            world.instances = 2
            handle: Handle = {}
            for each in before:
                handle = world.go(each, handle)
            change(world, handle)
            handle, died = world.until_death(number, after, target, handle)
            if not died:
                assert number >= 1
                return
            if number % 2 == int(after):
                handle = world.advance(handle, target).handle
            assert world.go(TERMINATED, handle)["steps"] == {}
            assert things(world) == {}, f"after {way} died at call {number}, {after=}"
    raise AssertionError("does not end")


USED_BY_AWS_FOR_US = {
    # Auto Scaling asks whether who makes a group may launch, and tag.
    *("ec2:RunInstances", "autoscaling:CreateOrUpdateTags"),
}


def test_the_table_of_permissions_is_what_is_really_called(world: ClusterWorld) -> None:
    world.more = {"spot": True}
    handle = world.go()
    world.cloud.observe_clusters([handle])
    world.go(TERMINATED, handle)
    world.more = {}
    region_of().stock = {"us-east-2a": 1}
    handle = world.go(PAUSED, world.go())
    handle = world.go(RUNNING, handle)
    world.instances = 3
    handle = world.go(RUNNING, handle)
    world.instances = 1
    world.go(TERMINATED, world.go(RUNNING, handle))
    called = world.cloud.fate.permissions
    allowed = {action for grant in GRANTS for action in grant.actions}
    assert called - allowed == set(), "these would be refused"
    mine = {action for grant in CLUSTERS for action in grant.actions}
    assert mine - called - USED_BY_AWS_FOR_US == set(), "these are allowed for nothing"


def test_the_permissions_are_few() -> None:
    text = json.dumps([grant.statement() for grant in CLUSTERS], separators=(",", ":"))
    assert len(text) < 2_300
