"""What becomes of a cluster that nobody uses: what the pages say of it, and that the platform does that and no more."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clusters import idleness, services, services_idle
from clusters.idleness import Idleness, Outlook, Signal, outlook
from clusters.models import Activity, Cluster, ClusterStatus
from clusters.services import ACTIONS
from portal.clouds.base import Target
from tests.factories import actor, make_cluster, make_organization, make_user, make_workspace
from tests.fakes import FakeCloud, Workers
from workspaces.models import Workspace

S = ClusterStatus
NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
TARGET_OF = {
    S.PAUSING: Target.PAUSED,
    S.PAUSED: Target.PAUSED,
    S.STOPPING: Target.STOPPED,
    S.STOPPED: Target.STOPPED,
    S.TERMINATING: Target.TERMINATED,
    S.TERMINATED: Target.TERMINATED,
}


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def idle(pause: int = 60, stop: int = 0, **fields: Any) -> Cluster:
    """A cluster in memory whose last activity was at noon."""
    values = {"status": S.RUNNING, "target": Target.RUNNING, "due_at": None, "last_activity_at": NOON, **fields}
    return Cluster(auto_pause_minutes=pause, auto_stop_minutes=stop, **values)


def short(found: Outlook | None) -> tuple[Any, ...]:
    """State, action and minutes after noon."""
    assert found is not None
    return found.state, found.action, found.at and (found.at - NOON) / minutes(1)


# --- the function ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pause", "stop", "fields", "expected"),
    [
        (60, 0, {}, (Idleness.COUNTING, "pause", 60)),
        (0, 90, {}, (Idleness.COUNTING, "stop", 90)),
        (60, 90, {}, (Idleness.COUNTING, "pause", 60)),
        (90, 60, {}, (Idleness.COUNTING, "stop", 60)),
        (60, 60, {}, (Idleness.COUNTING, "stop", 60)),
        (0, 0, {}, (Idleness.NEVER, "", None)),
        (60, 90, {"status": S.PAUSED, "target": Target.PAUSED}, (Idleness.COUNTING, "stop", 90)),
        (60, 0, {"status": S.PAUSED, "target": Target.PAUSED}, (Idleness.NEVER, "", None)),
        (60, 0, {"busy_with": uuid.uuid4()}, (Idleness.BUSY, "pause", None)),
        (60, 30, {"busy_with": uuid.uuid4()}, (Idleness.BUSY, "stop", None)),
        (0, 0, {"busy_with": uuid.uuid4()}, (Idleness.NEVER, "", None)),
    ],
)
def test_what_comes_next(pause: int, stop: int, fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert short(outlook(idle(pause, stop, **fields), NOON)) == expected


@pytest.mark.parametrize(
    ("pause", "stop", "snoozed", "now", "expected"),
    [
        (60, 0, 30, 0, (Idleness.COUNTING, "pause", 60)),  # over before it would matter
        (60, 0, 60, 0, (Idleness.COUNTING, "pause", 60)),
        (60, 0, 61, 0, (Idleness.SNOOZED, "pause", 61)),
        (60, 0, 240, 239, (Idleness.SNOOZED, "pause", 240)),
        (60, 0, 240, 240, (Idleness.COUNTING, "pause", 240)),  # now
        (60, 0, 240, 300, (Idleness.COUNTING, "pause", 240)),  # the sweep was away
        (60, 300, 240, 0, (Idleness.SNOOZED, "pause", 240)),
        (60, 200, 240, 0, (Idleness.SNOOZED, "stop", 240)),  # both would be over: a pause before it is for nothing
    ],
)
def test_a_snooze_puts_it_off(pause: int, stop: int, snoozed: int, now: int, expected: tuple[Any, ...]) -> None:
    cluster = idle(pause, stop, snoozed_until=NOON + minutes(snoozed))
    assert short(outlook(cluster, NOON + minutes(now))) == expected


def test_what_keeps_it_alive_is_named() -> None:
    signal = Signal("a notebook", "/somewhere/")
    assert outlook(idle(), NOON, [signal]) == Outlook(Idleness.BUSY, "pause", 60, signals=(signal,))
    assert outlook(idle(0), NOON, [signal]) == Outlook(Idleness.NEVER, signals=(signal,))


@pytest.mark.parametrize("status", S.values)
def test_nothing_comes_next_on_the_way_or_without_machines(status: str) -> None:
    target = TARGET_OF.get(S(status), Target.RUNNING)
    found = outlook(idle(60, 90, status=status, target=target), NOON)
    assert (found is not None) == (status in {S.RUNNING, S.PAUSED})
    assert outlook(idle(60, 90, status=status, target=target, due_at=NOON), NOON) is None
    assert outlook(idle(60, 90, status=status, target=Target.TERMINATED), NOON) is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"last_activity": Activity.SCALE, "last_activity_name": "Ada"}, "scaled by Ada"),
        ({"last_activity": Activity.CREATE}, "created"),
        ({"last_activity": Activity.RUN, "last_activity_name": "etl", "last_activity_id": uuid.uuid4()}, "the run etl"),
    ],
)
def test_the_last_signal_is_named(fields: dict[str, Any], text: str) -> None:
    found = idleness.last_signal(idle(workspace_id=uuid.uuid4(), **fields))
    assert found is not None
    assert found.text == text
    assert bool(found.url) == ("etl" in text)
    assert idleness.last_signal(idle()) is None


@pytest.mark.parametrize(("idle_minutes", "before"), [(14, None), (15, 5), (29, 29 / 3), (30, 10), (600, 10)])
def test_how_long_before_people_are_told(idle_minutes: int, before: float | None) -> None:
    found = Outlook(Idleness.COUNTING, "pause", idle_minutes, NOON)
    assert idleness.warned_before(found, 10) == (before and minutes(before))
    assert idleness.warned_before(found, 0) is None


# --- the sweep does what the function says ----------------------------------------------------------------------------


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


@pytest.fixture
def running(workspace: Workspace, fake_cloud: FakeCloud, workers: Workers) -> Cluster:
    """A cluster that the fake cloud really runs."""
    cluster = services.create_cluster(
        actor=actor(), workspace=workspace, name="c", instance_type="local.1x", instances=2, release="2026.10"
    )
    workers.work()
    cluster.refresh_from_db()
    assert cluster.status == S.RUNNING
    return cluster


AROUND = st.sampled_from([0, 1, 14, 15, 16, 30])
CLUSTERS = st.fixed_dictionaries(
    {
        "auto_pause_minutes": AROUND,
        "auto_stop_minutes": AROUND,
        "status": st.sampled_from([S.RUNNING, S.PAUSED, S.INPROGRESS, S.STOPPED, S.FAILED]),
        "target": st.sampled_from([Target.RUNNING, Target.PAUSED, Target.STOPPED]),
        "due_at": st.sampled_from([None, None, None, NOON]),
        "busy_with": st.sampled_from([None, None, None, uuid.UUID(int=1)]),
        "snoozed_until": st.sampled_from([None, None, *(NOON + minutes(count) for count in (-5, 14, 15, 16, 40))]),
    }
)


@pytest.mark.django_db
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CLUSTERS, min_size=1, max_size=12), st.sampled_from([-1, 0, 1, 15 * 60 * 10**6 - 1, 15 * 60 * 10**6]))
def test_the_database_finds_what_the_function_says(
    workspace: Workspace, drawn: list[dict[str, Any]], later: int
) -> None:
    now = NOON + timedelta(microseconds=later)
    Cluster.objects.all().delete()
    for values in drawn:
        make_cluster(workspace, last_activity_at=NOON, **values)
    found = {cluster: outlook(cluster, now) for cluster in Cluster.objects.all()}
    due = {cluster.pk for cluster, said in found.items() if said and said.at and said.at <= now}
    assert {cluster.pk for cluster in Cluster.objects.idle_at(now)} == due


@pytest.mark.parametrize(
    ("field", "status", "end"),
    [
        ("auto_pause_minutes", S.RUNNING, S.PAUSED),
        ("auto_stop_minutes", S.RUNNING, S.STOPPED),
        ("auto_stop_minutes", S.PAUSED, S.STOPPED),
    ],
)
def test_an_idle_cluster_is_let_go_at_the_minute(
    field: str, status: str, end: str, running: Cluster, workers: Workers
) -> None:
    if status == S.PAUSED:
        services.act(actor=actor(), cluster=running, action=ACTIONS["pause"])
        workers.work()
    services.update_cluster(actor=actor(), cluster=running, **{field: 30})
    idle_since = Cluster.objects.get(pk=running.pk).last_activity_at
    workers.clock.at = idle_since
    workers.clock.move(minutes=30, microseconds=-1)
    assert services_idle.pause_idle() == 0
    workers.clock.move(microseconds=1)
    assert services_idle.pause_idle() == 1
    assert services_idle.pause_idle() == 0
    workers.work()
    running.refresh_from_db()
    assert running.status == end
    assert running.last_activity_at == idle_since, "what the platform does by itself is no activity"
    newest = running.transitions.filter(kind="REQUEST").order_by("-seq")[0]
    assert newest.actor_label.startswith("Bodo Cloud Platform (")


def test_zero_minutes_are_never(running: Cluster, workers: Workers) -> None:
    workers.clock.move(days=300)
    assert services_idle.pause_idle() == 0


def test_a_busy_cluster_is_not_let_go(running: Cluster, workers: Workers) -> None:
    services.update_cluster(actor=actor(), cluster=running, auto_pause_minutes=1, auto_stop_minutes=1)
    holder = uuid.uuid4()
    services.claim(running.pk, holder)
    workers.clock.move(days=1)
    assert services_idle.pause_idle() == 0
    services.release(running.pk, holder)
    assert services_idle.pause_idle() == 0, "activity ends with the run"
    workers.clock.move(minutes=1)
    assert services_idle.pause_idle() == 1


def test_what_a_source_names_is_not_let_go(running: Cluster, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As notebooks will."""
    services.update_cluster(actor=actor(), cluster=running, auto_pause_minutes=1)
    signals = {running.pk: [Signal("a notebook")]}
    monkeypatch.setattr(idleness, "sources", [*idleness.sources, lambda clusters: signals])
    workers.clock.move(days=1)
    assert services_idle.pause_idle() == 0
    signals.clear()
    assert services_idle.pause_idle() == 1


def test_what_a_person_does_is_activity(running: Cluster, workers: Workers) -> None:
    services.update_cluster(actor=actor(), cluster=running, auto_pause_minutes=10)
    workers.clock.move(minutes=9)
    person = make_user()
    services.act(actor=actor(person), cluster=running, action=ACTIONS["restart"])
    workers.work()
    workers.clock.move(minutes=9)
    assert services_idle.pause_idle() == 0
    running.refresh_from_db()
    assert (running.last_activity, running.last_activity_name) == (Activity.RESTART, str(person))
    assert running.last_used_by == person


@pytest.mark.parametrize("quicker", ["activity", "signal", "snooze", "run"])
def test_what_happens_between_the_look_and_the_pause_wins(
    quicker: str, running: Cluster, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.update_cluster(actor=actor(), cluster=running, auto_pause_minutes=1)
    workers.clock.move(minutes=2)
    now = workers.clock.at
    rows = Cluster.objects.filter(pk=running.pk)
    if quicker == "activity":
        rows.update(last_activity_at=now)
    elif quicker == "snooze":
        rows.update(snoozed_until=now + minutes(1))
    elif quicker == "run":
        rows.update(busy_with=uuid.uuid4())
    else:
        monkeypatch.setattr(idleness, "sources", [lambda clusters: {running.pk: [Signal("a notebook")]}])
    assert not services_idle._let_go(running.pk)
    assert Cluster.objects.get(pk=running.pk).target == Target.RUNNING


def test_one_that_cannot_be_let_go_does_not_keep_the_others(
    workspace: Workspace, workers: Workers, monkeypatch: pytest.MonkeyPatch, fake_cloud: FakeCloud
) -> None:
    at = workers.clock.at - timedelta(hours=2)
    broken, fine = (make_cluster(workspace, auto_pause_minutes=60, last_activity_at=at) for _ in range(2))
    real = services.act

    def act(**given: Any) -> Cluster:
        if given["cluster"].pk == broken.pk:
            raise RuntimeError("a mistake of ours")
        return real(**given)

    monkeypatch.setattr(services, "act", act)
    assert services_idle.pause_idle() == 1
    fine.refresh_from_db()
    assert fine.target == Target.PAUSED


def test_many_clusters_that_are_not_due_are_not_read(workspace: Workspace, django_assert_num_queries: Any) -> None:
    for _ in range(20):
        make_cluster(workspace, auto_pause_minutes=60)
    with django_assert_num_queries(1):
        assert services_idle.pause_idle() == 0


@example(pause=60, stop=90, snoozed=120, now=200)
@given(pause=st.integers(0, 300), stop=st.integers(0, 300), snoozed=st.integers(-10, 400), now=st.integers(-100, 1000))
def test_what_is_promised_does_not_move_by_itself(pause: int, stop: int, snoozed: int, now: int) -> None:
    """Time alone changes neither what comes next nor when, and it is never sooner than the idle time or the snooze."""
    cluster = idle(pause, stop, snoozed_until=NOON + minutes(snoozed))
    first, later = outlook(cluster, NOON), outlook(cluster, NOON + minutes(now))
    assert first is not None
    assert later is not None
    assert (first.action, first.at) == (later.action, later.at)
    if first.at:
        assert first.at >= NOON + minutes(max(first.minutes, snoozed))
        assert first.at <= NOON + minutes(max(min(pause or 999, stop or 999), snoozed))
