"""The plan engine alone: dying anywhere leaves no resource twice and none behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from portal.clouds import plan
from portal.clouds.base import CloudError, Event, Failed, Handle, Pending, Settled, Step


class WorkerDiedError(Exception):
    """The worker was killed."""


@dataclass
class FakeCloud:
    """Resources by name, with a fault at call number ``fault_at``, before or after it took effect."""

    fault_at: int = -1
    fault_after: bool = False
    fault: Callable[[], Exception] = WorkerDiedError
    calls: int = 0
    there: dict[str, int] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def call(self, effect: Callable[[], object]) -> object:
        number, self.calls = self.calls, self.calls + 1
        if number == self.fault_at and not self.fault_after:
            raise self.fault()
        answer = effect()
        if number == self.fault_at:
            raise self.fault()
        return answer


@dataclass
class FakeStep:
    """A resource that needs ``looks`` looks to become ready and four calls to go."""

    cloud: FakeCloud
    name: str
    group: str
    fingerprint: str = "1"
    looks: float = 1

    @property
    def label(self) -> str:
        return f"the {self.name}"

    def find(self) -> str | None:
        return self.cloud.call(lambda: f"id-{self.name}" if self.name in self.cloud.there else None)  # type: ignore[return-value]

    def create(self) -> str:
        def effect() -> str:
            assert self.name not in self.cloud.there, f"{self.name} made twice"
            self.cloud.there[self.name] = 0
            self.cloud.made.append(self.name)
            return f"id-{self.name}"

        return self.cloud.call(effect)  # type: ignore[return-value]

    def ready(self, id: str) -> bool | Pending | Event:
        def effect() -> bool | Event:
            assert id == f"id-{self.name}"
            self.cloud.there[self.name] += 1
            return self.cloud.there[self.name] > self.looks or Event(self.name, "coming", progress=0.5)

        return self.cloud.call(effect)  # type: ignore[return-value]

    def delete(self, id: str | None) -> bool:
        def effect() -> bool:
            if self.name not in self.cloud.there:
                return True
            self.cloud.there[self.name] = min(self.cloud.there[self.name], 0) - 1
            if self.cloud.there[self.name] > -4:
                return False
            del self.cloud.there[self.name]
            self.cloud.gone.append(self.name)
            return True

        return self.cloud.call(effect)  # type: ignore[return-value]


def steps(cloud: FakeCloud, nodes: int = 3, fingerprint: str = "1", looks: float = 1) -> list[FakeStep]:
    return [
        FakeStep(cloud, "network", "network", looks=looks),
        FakeStep(cloud, "filesystem", "filesystem", looks=looks),
        *(FakeStep(cloud, f"node-{index}", "nodes", fingerprint, looks) for index in range(nodes)),
    ]


def stored(handle: Handle) -> Handle:
    """As PostgreSQL gives it back: a copy whose keys lost their order."""
    copy: Handle = json.loads(json.dumps(handle, sort_keys=True))
    return copy


def drive(wanted: list[FakeStep], known: list[FakeStep], handle: Handle, limit: int = 200) -> Iterator[Step]:
    for _ in range(limit):
        step = plan.advance(wanted, known, handle)
        yield step
        handle = stored(step.handle)
        if isinstance(step.outcome, Settled | Failed):
            return
    raise AssertionError("does not settle")


def settle(wanted: list[FakeStep], known: list[FakeStep], handle: Handle) -> Handle:
    *_, last = drive(wanted, known, handle)
    assert last.outcome == Settled()
    return stored(last.handle)


def until_death(wanted: list[FakeStep], known: list[FakeStep], handle: Handle) -> tuple[Handle, bool]:
    """The last stored handle, and whether the fault struck."""
    try:
        for step in drive(wanted, known, handle):
            handle = stored(step.handle)
    except WorkerDiedError:
        return handle, True
    return handle, False


def calls_of_a_life() -> int:
    cloud = FakeCloud()
    handle = settle(steps(cloud), steps(cloud), {})
    settle([], steps(cloud), handle)
    return cloud.calls


DEATHS = [(number, after) for number in range(calls_of_a_life()) for after in (False, True)]


@pytest.mark.parametrize(("number", "after"), DEATHS)
@pytest.mark.parametrize("then", ["resume", "delete"])
def test_dying_anywhere_leaves_no_duplicate_and_no_leak(number: int, after: bool, then: str) -> None:
    cloud = FakeCloud(fault_at=number, fault_after=after)
    up = steps(cloud)
    handle: Handle = {}
    handle, died = until_death(up, up, handle)
    if died and then == "resume":
        handle = settle(up, up, handle)
        assert sorted(cloud.there) == sorted(step.name for step in up)
    for _ in range(2):  # it dies on its way down where it did not on its way up
        handle, _ = until_death([], up, handle)
    assert handle == {"steps": {}}
    assert cloud.there == {}
    assert sorted(cloud.made) == sorted(cloud.gone)
    assert len(cloud.made) == len(set(cloud.made))


def test_an_answer_that_was_not_stored_is_found_again() -> None:
    """Every tick is lost once: the cloud did it, the database did not learn of it."""
    cloud = FakeCloud()
    wanted = steps(cloud, looks=0)
    handle: Handle = {}
    for _ in range(200):
        plan.advance(wanted, wanted, handle)
        step = plan.advance(wanted, wanted, handle)
        handle = stored(step.handle)
        if isinstance(step.outcome, Settled):
            break
    assert sorted(cloud.made) == sorted(step.name for step in wanted)


def test_an_error_of_the_provider_fails_the_step_and_keeps_the_ledger() -> None:
    error = CloudError("Throttled", "slow down", "wait")
    total = calls_of_a_life()
    for number in range(total):
        cloud = FakeCloud(fault_at=number, fault=lambda: error)
        wanted = steps(cloud)
        *_, last = drive(wanted, wanted, {})
        if last.outcome == Settled():
            break
        assert last.outcome == Failed(error)
        settle([], wanted, settle(wanted, wanted, stored(last.handle)))
        assert cloud.there == {}
        assert len(cloud.made) == len(set(cloud.made))
    else:
        pytest.fail("the way up should need fewer calls than a life")


def test_what_never_gets_ready_stays_pending_and_can_be_deleted() -> None:
    cloud = FakeCloud()
    wanted = steps(cloud, looks=float("inf"))
    handle: Handle = {}
    for _ in range(20):
        step = plan.advance(wanted, wanted, handle)
        handle = stored(step.handle)
        assert isinstance(step.outcome, Pending)
    assert list(cloud.there) == ["network"], "nothing is made before what it needs is ready"
    settle([], wanted, handle)
    assert cloud.there == {}


def test_steps_of_one_group_are_made_side_by_side() -> None:
    cloud = FakeCloud()
    wanted = steps(cloud, looks=5)
    for step in drive(wanted, wanted, {}):
        if cloud.there.get("node-2") == 0:
            assert step.handle["steps"]["node-0"]["state"] == "created", "node 0 must not have been waited for"
            return
    pytest.fail("never made")


def test_steps_of_one_group_are_deleted_side_by_side_and_before_what_they_need() -> None:
    cloud = FakeCloud()
    wanted = steps(cloud)
    handle = settle(wanted, wanted, {})
    together = False
    for _ in drive([], wanted, handle):
        together |= all(cloud.there.get(f"node-{index}", 0) < 0 for index in range(3))
        if cloud.there.get("filesystem", 0) < 0:
            assert not any(name.startswith("node") for name in cloud.there)
        if cloud.there.get("network", 0) < 0:
            assert "filesystem" not in cloud.there
    assert together, "all nodes are on their way at once"
    assert cloud.there == {}


def test_progress_reaches_the_page() -> None:
    cloud = FakeCloud()
    wanted = steps(cloud)
    events = [event for step in drive(wanted, wanted, {}) for event in step.events]
    assert Event("network", "coming", progress=0.5) in events
    assert Event("network", "Making the network") in events
    assert Event("network", "The network ready") in events


def test_scaling_down_removes_only_the_highest_and_up_adds_only_the_new() -> None:
    cloud = FakeCloud()
    handle = settle(steps(cloud, 3), steps(cloud, 3), {})
    cloud.made.clear()
    handle = settle(steps(cloud, 1), steps(cloud, 3), handle)
    assert cloud.gone == ["node-2", "node-1"]
    settle(steps(cloud, 2), steps(cloud, 3), handle)
    assert cloud.made == ["node-1"]


def test_a_changed_fingerprint_remakes_only_what_it_is_about() -> None:
    cloud = FakeCloud()
    handle = settle(steps(cloud, 2), steps(cloud, 2), {})
    cloud.made.clear()
    settle(steps(cloud, 2, fingerprint="2"), steps(cloud, 2), handle)
    assert cloud.gone == ["node-1", "node-0"]
    assert cloud.made == ["node-0", "node-1"]


def test_the_handle_given_is_not_changed() -> None:
    cloud = FakeCloud()
    handle: Handle = {}
    plan.advance(steps(cloud), [], handle)
    assert handle == {}


def test_a_removal_that_began_is_finished_before_the_thing_is_wanted_again() -> None:
    cloud = FakeCloud()
    wanted = steps(cloud, 1)
    handle = settle(wanted, wanted, {})
    handle = stored(plan.advance(wanted[:2], wanted, handle).handle)
    assert handle["steps"]["node-0"]["state"] == "deleting"
    settle(wanted, wanted, handle)
    assert cloud.gone == ["node-0"]
    assert cloud.made.count("node-0") == 2


# --- A provider that does not show at once what it made ---------------------------------------------------------------

LAG = 15.0


@dataclass
class SlowStep(FakeStep):
    """Found only ``LAG`` seconds after it was made, by the test's clock."""

    clock: list[float] = field(default_factory=lambda: [1000.0])
    since: dict[str, float] = field(default_factory=dict)

    def find(self) -> str | None:
        shown = self.clock[0] - self.since.get(self.name, 0) >= LAG - 1
        return super().find() if shown else None

    def create(self) -> str:
        if self.name not in self.cloud.there:
            self.since[self.name] = self.clock[0]
        return super().create()

    def delete(self, id: str | None) -> bool:
        return self.find() is None if id is None and self.find() is None else super().delete(id)


def slow(cloud: FakeCloud, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> list[SlowStep]:
    monkeypatch.setattr("portal.clouds.plan.time.time", lambda: clock[0])
    since: dict[str, float] = {}
    return [SlowStep(cloud, name, name, looks=0, clock=clock, since=since) for name in ("network", "address")]


def wait_and_settle(wanted: list[SlowStep], known: list[SlowStep], handle: Handle, clock: list[float]) -> Handle:
    for _ in range(100):
        step = plan.advance(wanted, known, handle, lag=LAG)
        handle = stored(step.handle)
        match step.outcome:
            case Settled():
                return handle
            case Failed():
                clock[0] += 2
            case Pending(after):
                clock[0] += after or 0.01
    raise AssertionError("does not settle")


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("target", ["resume", "delete"])
@pytest.mark.parametrize("pause", [2, 31])
def test_what_is_not_shown_yet_is_not_made_twice_and_not_left_behind(
    number: int, target: str, pause: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost after the effect; the next try comes soon (an error) or once the lease ran out (a death)."""
    error = CloudError("NotReachable", "timed out")
    clock = [1000.0]
    cloud = FakeCloud(fault_at=number, fault_after=True, fault=lambda: error)
    wanted = slow(cloud, clock, monkeypatch)
    handle: Handle = {}
    for _ in range(30):
        step = plan.advance(wanted, wanted, handle, lag=LAG)
        handle = stored(step.handle)
        clock[0] += 0.01
        if isinstance(step.outcome, Failed | Settled):
            break
    clock[0] += pause
    if target == "resume":
        handle = wait_and_settle(wanted, wanted, handle, clock)
        assert sorted(cloud.there) == ["address", "network"]
    wait_and_settle([], wanted, handle, clock)
    assert cloud.there == {}
    assert len(cloud.made) == len(set(cloud.made))


def test_nothing_waits_where_nothing_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    wanted = slow(FakeCloud(), clock, monkeypatch)
    wait_and_settle(wanted, wanted, {}, clock)
    assert clock[0] < 1001
