"""The contract of a cloud, over the LOCAL one with real processes: clusters and their machines."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import CloudError, Failed, Handle, Health, LogStream, Pending, Settled, Target
from portal.clouds.local import sandbox
from portal.clouds.local.provider import LocalCloud
from tests.clouds.local_world import CAPACITY, World, healths, processes_of, wait_for

Refused = Callable[[str], Any]


def test_a_cluster_runs_pauses_resumes_stops_and_vanishes(world: World) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    assert healths(world, handle) == [Health.HEALTHY, Health.HEALTHY]
    assert world.cloud.capacity.free() == CAPACITY - 2
    cluster = world.clusters / spec.id
    kept = cluster / "node-0" / "disk" / "home" / "kept"
    kept.touch()

    handle = world.go(spec, Target.PAUSED, handle)
    assert processes_of(cluster) == []
    assert kept.exists(), "a pause keeps the disks"
    assert world.cloud.capacity.free() == CAPACITY

    handle = world.go(spec, Target.RUNNING, handle)
    assert healths(world, handle) == [Health.HEALTHY, Health.HEALTHY]

    handle = world.go(spec, Target.STOPPED, handle)
    assert processes_of(cluster) == []
    assert not kept.exists(), "a stop removes the machines with their disks"

    handle = world.go(spec, Target.RUNNING, handle)
    handle = world.go(spec, Target.TERMINATED, handle)
    assert processes_of(cluster) == []
    assert not cluster.exists()
    assert handle == {"steps": {}}
    assert world.cloud.capacity.free() == CAPACITY


def test_a_node_says_where_it_is(running: tuple[World, Handle]) -> None:
    world, handle = running
    node = world.cloud.observe_clusters([handle])[0].nodes[0]
    assert (node.index, node.name) == (0, "node-0")
    assert node.address == f"127.0.0.1 (pid {world.agent(handle)})"
    assert node.heartbeat is not None


def test_scaling_keeps_the_machines_that_stay(world: World) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    agents = [world.agent(handle, 0), world.agent(handle, 1)]
    handle = world.go(replace(spec, instances=4), Target.RUNNING, handle)
    assert world.cloud.capacity.free() == 0
    assert [world.agent(handle, 0), world.agent(handle, 1)] == agents
    handle = world.go(replace(spec, instances=1), Target.RUNNING, handle)
    assert healths(world, handle) == [Health.HEALTHY]
    assert world.agent(handle) == agents[0]
    assert len(processes_of(world.clusters)) == 1
    assert world.cloud.capacity.free() == CAPACITY - 1
    assert not (world.clusters / spec.id / "node-1").exists()


def test_a_restart_replaces_the_machines_and_keeps_their_disks(world: World) -> None:
    spec = world.spec()
    handle = world.go(spec)
    agent = world.agent(handle)
    kept = world.clusters / spec.id / "node-0" / "disk" / "home" / "kept"
    kept.touch()
    handle = world.go(replace(spec, generation=2), Target.RUNNING, handle)
    assert world.agent(handle) != agent
    assert kept.exists()
    assert len(processes_of(world.clusters)) == 1


def test_scaling_beyond_the_machine_fails_and_leaves_the_cluster_running(world: World, refused: Refused) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    agents = [world.agent(handle, 0), world.agent(handle, 1)]
    with refused("InsufficientCapacity") as caught:
        world.go(replace(spec, instances=5), Target.RUNNING, handle)
    assert "PORTAL_LOCAL_CAPACITY" in caught.value.hint
    assert caught.value.permanent, "only a person can make room"
    assert f"{CAPACITY - 2} of {CAPACITY} cores free" in caught.value.message
    handle = caught.value.handle
    assert [world.agent(handle, 0), world.agent(handle, 1)] == agents
    assert healths(world, handle) == [Health.HEALTHY, Health.HEALTHY]
    assert world.cloud.capacity.free() == CAPACITY - 2, "a failed reservation holds nothing"
    handle = world.go(spec, Target.RUNNING, handle)
    assert [world.agent(handle, 0), world.agent(handle, 1)] == agents


def test_two_clusters_racing_for_the_last_cores_cannot_both_half_start(new_world: Callable[[], World]) -> None:
    worlds = [new_world(), new_world()]
    results: list[Handle | CloudError] = []

    def race(world: World) -> None:
        try:
            results.append(world.go(world.spec(3)))
        except CloudError as error:
            results.append(error)

    threads = [threading.Thread(target=race, args=(world,)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    losers = [result for result in results if isinstance(result, CloudError)]
    assert [error.code for error in losers] == ["InsufficientCapacity"]
    assert worlds[0].cloud.capacity.free() == CAPACITY - 3


def test_cores_reserved_for_nodes_that_are_no_longer_wanted_are_given_back(world: World) -> None:
    """The reservation is made for four; before its answer is used, somebody asks for one."""
    spec = world.spec(4)
    handle: Handle = {}
    while world.cloud.capacity.free() == CAPACITY:
        handle = world.cloud.advance_cluster(spec, handle, Target.RUNNING).handle
    handle = world.go(replace(spec, instances=1), Target.RUNNING, handle)
    assert world.cloud.capacity.free() == CAPACITY - 1


def test_a_reservation_whose_cluster_was_deleted_by_hand_is_forgotten(world: World) -> None:
    spec = world.spec(4)
    world.cloud.capacity.reserve(spec.id, world.cloud.root / "nowhere", {0: 4})
    assert world.cloud.capacity.free() == CAPACITY


def test_a_killed_machine_is_noticed_and_replaced_by_a_restart(world: World) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    os.kill(world.agent(handle, 1), signal.SIGKILL)
    wait_for(lambda: healths(world, handle) == [Health.HEALTHY, Health.LOST])
    assert [node.index for node in world.cloud.observe_clusters([handle])[0].lost] == [1]
    handle = world.go(replace(spec, generation=2), Target.RUNNING, handle)
    assert healths(world, handle) == [Health.HEALTHY, Health.HEALTHY]


def test_a_machine_that_hangs_is_lost_and_can_be_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = world.spec()
    handle = world.go(spec)
    os.kill(world.agent(handle), signal.SIGSTOP)
    monkeypatch.setattr("portal.clouds.local.provider.HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr("portal.clouds.local.steps.SHUTDOWN_SECONDS", 0.2)
    monkeypatch.setattr("portal.clouds.local.processes.ANSWER_SECONDS", 0.2)
    wait_for(lambda: healths(world, handle) == [Health.LOST])
    world.go(spec, Target.TERMINATED, handle)
    assert processes_of(world.cloud.root) == []


def test_dying_at_any_tick_leaves_no_machine_twice_and_none_behind(world: World) -> None:
    """Every answer is lost once: the tick is done again from the handle before it."""
    spec = world.spec(2)
    handle: Handle = {}
    for target in (Target.RUNNING, Target.PAUSED, Target.RUNNING, Target.TERMINATED):
        while True:
            world.cloud.advance_cluster(spec, handle, target)
            step = world.cloud.advance_cluster(spec, handle, target)
            handle = json.loads(json.dumps(step.handle, sort_keys=True))
            assert not isinstance(step.outcome, Failed), step
            assert len(processes_of(world.clusters)) <= 2
            if step.outcome == Settled():
                break
            assert isinstance(step.outcome, Pending)
        if target is Target.RUNNING:
            assert healths(world, handle) == [Health.HEALTHY, Health.HEALTHY]
    assert processes_of(world.cloud.root) == []
    assert world.cloud.capacity.free() == CAPACITY


def test_the_database_forgot_everything_and_the_cluster_is_found_again(world: World) -> None:
    spec = world.spec(2)
    handle = world.go(spec)
    agents = [world.agent(handle, 0), world.agent(handle, 1)]
    again = world.go(spec, Target.RUNNING, {})
    assert [world.agent(again, 0), world.agent(again, 1)] == agents


def test_an_agent_that_cannot_start_fails_with_its_last_words(world: World, refused: Refused) -> None:
    world.cloud.python = "/bin/false"
    with refused("DaemonFailed"):
        world.go(world.spec())


def test_an_agent_is_small_and_imports_nothing_but_the_standard_library(running: tuple[World, Handle]) -> None:
    world, handle = running
    status = Path(f"/proc/{world.agent(handle)}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 15 * 1024
    maps = Path(f"/proc/{world.agent(handle)}/maps").read_text()
    assert "site-packages" not in maps


def test_no_descriptor_or_secret_of_the_portal_reaches_an_agent(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORTAL_SECRET_KEY", "portal-secret")
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        handle = world.go(world.spec())
    agent = world.agent(handle)
    assert b"portal-secret" not in Path(f"/proc/{agent}/environ").read_bytes()
    files = [os.readlink(f"/proc/{agent}/fd/{name}") for name in os.listdir(f"/proc/{agent}/fd")]
    assert str(tmp_path / "secret") not in files
    assert os.getsid(agent) == agent
    assert os.getppid() != agent


@pytest.mark.parametrize("target", list(Target))
def test_an_unknown_instance_type_only_matters_to_what_should_run(world: World, target: Target) -> None:
    step = world.cloud.advance_cluster(world.spec(instance_type="local.900x"), {}, target)
    failed = isinstance(step.outcome, Failed) and step.outcome.error.code == "InstanceTypeUnknown"
    assert failed == (target is Target.RUNNING)


def test_ids_cannot_leave_the_root(world: World, refused: Refused) -> None:
    with refused("InvalidId"):
        world.go(world.spec(id="../../etc"), Target.TERMINATED)


def test_a_workspace_and_all_in_it_is_removed_but_no_link_is_followed(world: World, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    closed = world.bodofs / "closed"
    closed.mkdir()
    (closed / "file").touch()
    closed.chmod(0)
    (world.bodofs / "link").symlink_to(precious)
    world.deploy(Target.TERMINATED)
    assert not world.bodofs.parent.exists()
    assert (precious / "file").exists()


def test_the_offer_fits_the_machine(world: World) -> None:
    types = world.cloud.instance_types("local")
    assert [each.name for each in types] == ["local.1x", "local.2x", "local.4x"]
    assert [each.cores for each in types] == [1, 2, 4]
    assert types[2].memory == 4 * types[0].memory
    assert (world.cloud.regions(), world.cloud.zones("local")) == (["local"], ["local-a"])
    small = LocalCloud(world.cloud.root, world.cloud.machine_root, 1 / len(os.sched_getaffinity(0)))
    assert [each.name for each in small.instance_types("local")] == ["local.1x"]


def test_checks_say_what_to_do(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = world.cloud.check()
    assert [check.name for check in checks if not check.passed] == []
    assert "Landlock" in checks[-1].detail or "secrets" in checks[-1].detail
    before = sorted(tmp_path.rglob("*"))
    refused = LocalCloud(Path("/usr/portal"), world.cloud.machine_root, python="/nonexistent").check()
    failed = {check.name: check.hint for check in refused if not check.passed}
    assert {"Directory", "Release environments"} <= set(failed)
    assert all(failed.values())
    assert sorted(tmp_path.rglob("*")) == before, "checking changes nothing"
    monkeypatch.setattr(sandbox, "abi", lambda: 0)
    isolation = world.cloud.check()[-1]
    assert isolation.passed
    assert "can read all files" in isolation.detail
    assert isolation.hint


def test_jobs_need_a_running_cluster(world: World, refused: Refused) -> None:
    process = world.process("pass")
    with refused("ClusterNotRunning"):
        world.cloud.start({}, process)
    spec = world.spec()
    handle = world.go(spec, Target.PAUSED, world.go(spec))
    with refused("ClusterNotRunning"):
        world.cloud.start(handle, process)


def test_the_logs_of_a_run_outlive_its_cluster_and_go_with_the_workspace(world: World) -> None:
    spec = world.spec()
    handle = world.go(spec)
    ref = world.cloud.start(handle, world.process("print('said')"))
    world.end(ref)
    handle = world.go(spec, Target.STOPPED, handle)
    assert world.output(handle, ref) == "said\n"
    handle = world.go(spec, Target.TERMINATED, handle)
    assert world.output(handle, ref) == "said\n"
    assert os.listdir(world.clusters / spec.id) == ["runs"], "nothing else is left"
    world.deploy(Target.TERMINATED)
    assert world.cloud.logs(handle, ref, LogStream.STDOUT, 0, 10).size == 0


def test_a_machine_is_judged_by_a_clock_that_does_not_jump(world: World) -> None:
    """Suspend and time servers move the wall's clock; a machine that lives is not lost for that."""
    spec = world.spec()
    handle = world.go(spec)
    agent = world.agent(handle)
    heartbeat = world.clusters / spec.id / "node-0" / "heartbeat"
    os.kill(agent, signal.SIGSTOP)  # so that it does not beat meanwhile
    try:
        beaten = heartbeat.stat()
        os.utime(heartbeat, (beaten.st_atime, beaten.st_mtime - 3600))
        assert healths(world, handle) == [Health.HEALTHY]
        os.utime(heartbeat, (beaten.st_atime - 60, beaten.st_mtime))
        assert healths(world, handle) == [Health.LOST]
    finally:
        os.kill(agent, signal.SIGCONT)
