"""What usage alarms on LOCAL watch, what they say, and that each change is told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from billing import alarms_metric, alarms_plot
from billing.alarms import Suggestion, above, alarms_of, suggestion
from billing.alarms_local import LocalAlarms, evaluate
from billing.alarms_reconcile import observe, record_observation, watch
from billing.models import Alarm, AlarmChange, UsageSample
from portal import reconcile as engine
from portal.clouds.base import AlarmObservation, AlarmState, CloudError, EndpointState
from portal.models import OutgoingMail
from tests.billing.alarms_world import in_a_minute, make_alarm, make_endpoint, put_samples
from tests.factories import make_cluster, make_configuration, make_organization, make_workspace
from tests.fakes import Clock, FakeCloud, Thing
from tests.mailbox import delivered
from tests.together import together
from workspaces.models import CloudConfiguration

MINUTE = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
"""Within the night in which clocks in Europe are put forward."""


# --- the evaluation -------------------------------------------------------------------------------------------------


def naive(values: list[int | None], threshold: int) -> AlarmState:
    """Try every value that could stand in each gap: what is the same for all of them is known."""
    answers = set()
    for filling in (0, 10_000):
        filled = [filling if value is None else value for value in values]
        answers.add(AlarmState.ALARM if all(value > threshold for value in filled) else AlarmState.OK)
    return answers.pop() if len(answers) == 1 else AlarmState.INSUFFICIENT_DATA


@given(
    period=st.integers(1, 12),
    threshold=st.integers(0, 6),
    values=st.lists(st.one_of(st.none(), st.integers(0, 8)), min_size=12, max_size=12),
    around=st.dictionaries(st.integers(1, 30), st.integers(0, 8)),
)
def test_the_evaluation_is_what_all_fillings_of_the_gaps_agree_on(
    period: int, threshold: int, values: list[int | None], around: dict[int, int]
) -> None:
    """Samples outside of the period, before and after it, change nothing."""
    within = values[:period]
    samples = {MINUTE - timedelta(minutes=ago): value for ago, value in enumerate(within) if value is not None}
    outside = {MINUTE + timedelta(minutes=ahead): value for ahead, value in around.items()}
    outside |= {MINUTE - timedelta(minutes=period - 1 + ago): value for ago, value in around.items()}
    state, reason = evaluate({**samples, **outside}, MINUTE, period, threshold)
    assert state == naive(within, threshold)
    assert reason.endswith(".")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([3, 3, 3, 3, 3], "ALARM"),
        ([3, 3, 2, 3, 3], "OK"),
        ([3, None, 3, 3, 3], "INSUFFICIENT_DATA"),
        ([None, None, None, None, None], "INSUFFICIENT_DATA"),
        ([None, None, 2, None, None], "OK"),
    ],
)
def test_the_period_in_examples(values: list[int | None], state: str) -> None:
    samples = {MINUTE - timedelta(minutes=ago): value for ago, value in enumerate(values) if value is not None}
    assert evaluate(samples, MINUTE, 5, 2)[0] == state


@pytest.fixture
def clock(clock: Clock) -> Clock:
    return in_a_minute(clock)


# --- the metric -----------------------------------------------------------------------------------------------------


@pytest.fixture
def configuration(db: None) -> CloudConfiguration:
    return make_configuration(make_organization())


def running(configuration: CloudConfiguration, cloud: FakeCloud, kind: str, nodes: int, **fields: object) -> None:
    """A cluster with so many machines at its provider."""
    workspace = make_workspace(configuration.organization, configuration)
    cluster = make_cluster(workspace, instance_type=kind, **fields)
    steps = {f"node-{index}": {"state": "ready", "id": f"i-{index}", "order": index} for index in range(nodes)}
    cluster.handle = {"cluster": str(cluster.pk), "steps": steps}
    cluster.save(update_fields=["handle"])
    cloud.things |= {f"{cluster.pk}/{name}": Thing(name, "1") for name in steps}


def values() -> list[int]:
    return list(UsageSample.objects.order_by("minute").values_list("vcpus", flat=True))


def test_machines_that_are_there_are_counted_also_while_they_are_not_charged(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    running(configuration, fake_cloud, "local.2x", 3)
    running(configuration, fake_cloud, "local.4x", 1, status="INITIALIZING")
    running(configuration, fake_cloud, "local.4x", 1, status="FAILED", deployed_instances=0)
    running(configuration, fake_cloud, "local.4x", 2, status="TERMINATED")
    alarms_metric.sample()
    assert values() == [3 * 2 + 4 + 4]


def test_lost_machines_are_not_counted(configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock) -> None:
    running(configuration, fake_cloud, "local.2x", 3)
    fake_cloud.things.clear()
    alarms_metric.sample()
    assert values() == [0]


def test_a_minute_has_one_sample_however_many_schedulers_take_it(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    assert alarms_metric.sample() == 1
    clock.move(seconds=15)
    assert alarms_metric.sample() == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        UsageSample.objects.create(configuration=configuration, minute=UsageSample.objects.get().minute, vcpus=7)
    clock.move(minutes=1)
    assert alarms_metric.sample() == 1
    assert values() == [0, 0]


def test_a_sample_of_another_scheduler_stays(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when this one looked, and is when it writes."""

    def meanwhile(found: CloudConfiguration, clusters: object) -> int:
        put_samples(found, clock(), 5)
        return 9

    monkeypatch.setattr(alarms_metric, "vcpus_in_use", meanwhile)
    alarms_metric.sample()
    assert values() == [5]


def test_what_cannot_be_counted_leaves_a_gap_and_does_not_hide_the_others(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    running(configuration, fake_cloud, "local.64x", 1)
    other = make_configuration(make_organization())
    deleted = make_configuration(make_organization())
    CloudConfiguration.objects.filter(pk=deleted.pk).update(deleted_at=clock())
    alarms_metric.sample()
    assert list(UsageSample.objects.values_list("configuration", flat=True)) == [other.pk]


def test_old_samples_are_forgotten(configuration: CloudConfiguration, clock: Clock) -> None:
    for days in (14, 16, 30):
        put_samples(configuration, clock() - timedelta(days=days), 1)
    assert alarms_metric.prune() == 2
    assert values() == [1]


def test_the_history_holds_the_highest_of_each_stretch_and_gaps(
    configuration: CloudConfiguration, clock: Clock
) -> None:
    start = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # clocks in Europe go back an hour later
    put_samples(configuration, start + timedelta(minutes=11), 1, 4, 2, 2, 2, *[None] * 5, 3, 9)
    put_samples(configuration, start + timedelta(minutes=12), 77)  # the end is not in it
    put_samples(make_configuration(make_organization()), start, 99)
    found = LocalAlarms(configuration).metric_history(start, start + timedelta(minutes=12), 300)
    assert [(sample.at, sample.vcpus) for sample in found] == [
        (start, 4),
        (start + timedelta(minutes=10), 9),
    ]


# --- what an alarm says ---------------------------------------------------------------------------------------------


def say(alarm: Alarm, clock: Clock, *vcpus: int | None) -> str:
    """A minute passes for each value, in which the scheduler does its work."""
    for value in vcpus:
        clock.move(minutes=1)
        put_samples(alarm.configuration, clock(), value)
        observe()
    alarm.refresh_from_db()
    return alarm.state


def subjects() -> list[str]:
    return [str(message.subject) for message in delivered()]


def test_a_change_is_told_once_to_those_who_confirmed(db: None, clock: Clock) -> None:
    alarm = make_alarm(name="Big bill")
    told = make_endpoint(alarm)
    make_endpoint(alarm, EndpointState.PENDING)
    make_endpoint(alarm, EndpointState.UNSUBSCRIBED)
    assert say(alarm, clock, 3, 3, 3, 3) == "INSUFFICIENT_DATA"
    assert subjects() == []
    assert say(alarm, clock, 4, 3, 3) == "ALARM"
    assert subjects() == ["[usage-alarms] ALARM: Big bill"]
    assert say(alarm, clock, 2, 3) == "OK"
    (gone_off, over) = delivered()
    assert over.subject == "[usage-alarms] OK again: Big bill"
    assert gone_off.to == over.to == [told.address]
    assert "at least 3 vCPUs were in use, which is above 2" in gone_off.body
    assert [(change.number, change.state, change.told) for change in alarm.history.order_by("number")] == [
        (1, "ALARM", 1),
        (2, "OK", 1),
    ]


def test_gaps_are_shown_but_told_to_nobody(db: None, clock: Clock) -> None:
    alarm = make_alarm()
    make_endpoint(alarm)
    assert say(alarm, clock, 3, 3, 3, 3, 3) == "ALARM"
    assert say(alarm, clock, None) == "INSUFFICIENT_DATA"
    assert say(alarm, clock, 3, 3, 3, 3, 3) == "ALARM"
    assert len(subjects()) == 1, "they know that already"
    assert say(alarm, clock, None, 1) == "OK"
    assert len(subjects()) == 2
    assert say(alarm, clock, *[None] * 6) == "INSUFFICIENT_DATA"
    assert say(alarm, clock, 1) == "OK"
    assert len(subjects()) == 2
    assert AlarmChange.objects.count() == 7


def test_who_was_not_told_of_the_alarm_is_not_told_of_its_end(db: None, clock: Clock) -> None:
    alarm = make_alarm()
    assert say(alarm, clock, 3, 3, 3, 3, 3) == "ALARM"
    make_endpoint(alarm)
    assert say(alarm, clock, 1) == "OK"
    assert subjects() == []


def test_two_schedulers_tell_once(db: None, clock: Clock) -> None:
    """Both have read the alarm before either wrote."""
    alarm = make_alarm()
    make_endpoint(alarm)
    seen = [Alarm.objects.get(pk=alarm.pk) for _ in range(2)]
    said = AlarmObservation(AlarmState.ALARM, "Because.", clock())
    assert [record_observation(each, said, portal_sends=True) for each in seen] == [True, False]
    assert len(subjects()) == AlarmChange.objects.count() == 1


def test_a_slow_scheduler_does_not_bring_back_what_is_over(db: None, clock: Clock) -> None:
    alarm = make_alarm()
    make_endpoint(alarm)
    late = AlarmObservation(AlarmState.ALARM, "Late.", clock())
    soon = AlarmObservation(AlarmState.OK, "Soon.", clock.move(minutes=1))
    assert record_observation(alarm, soon, portal_sends=True)
    assert not record_observation(alarm, late, portal_sends=True)
    alarm.refresh_from_db()
    assert (alarm.state, subjects()) == ("OK", [])


def test_a_clock_that_was_set_back_does_not_silence_an_alarm(db: None, clock: Clock) -> None:
    alarm = make_alarm()
    assert say(alarm, clock, 1, 1) == "OK"
    clock.move(hours=-3)
    assert say(alarm, clock, 3, 3, 3, 3, 3) == "ALARM"


def test_a_crash_before_the_commit_tells_nobody_and_the_next_pass_tells_once(
    db: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mails are written; then the process dies."""
    alarm = make_alarm()
    make_endpoint(alarm)
    said = AlarmObservation(AlarmState.ALARM, "Because.", clock())

    def dies(**_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(AlarmChange.objects, "create", dies)
        with pytest.raises(SystemExit):
            record_observation(alarm, said, portal_sends=True)
    assert (OutgoingMail.objects.count(), Alarm.objects.get().state) == (0, "INSUFFICIENT_DATA")
    assert record_observation(alarm, said, portal_sends=True)
    assert not record_observation(alarm, said, portal_sends=True)
    assert len(subjects()) == 1


def test_an_answer_for_other_settings_is_dropped(db: None, clock: Clock) -> None:
    alarm = make_alarm()
    Alarm.objects.update(revision=alarm.revision + 1)
    assert not record_observation(alarm, AlarmObservation(AlarmState.ALARM, "Old.", clock()), portal_sends=True)


def test_only_alarms_that_stand_are_asked(db: None, clock: Clock) -> None:
    for status in ("NEW", "FAILED", "TERMINATING", "TERMINATED"):
        make_alarm(status=status)
    assert observe() == 0
    assert AlarmChange.objects.count() == 0


def test_one_account_that_does_not_answer_hides_no_other(
    db: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, other = make_alarm(), make_alarm()
    put_samples(other.configuration, clock(), 1)
    ask = LocalAlarms.observe_alarms

    def answer(self: LocalAlarms, alarms: object) -> object:
        if self.configuration == silent.configuration:
            raise CloudError("Throttled", "Too many requests.")
        return ask(self, alarms)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalAlarms, "observe_alarms", answer)
    observe()
    assert list(AlarmChange.objects.values_list("alarm", flat=True)) == [other.pk]


def test_a_pass_takes_the_sample_before_it_looks(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    alarm = make_alarm(configuration, period_minutes=1, threshold=1)
    running(configuration, fake_cloud, "local.2x", 1)
    assert watch() == 1
    alarm.refresh_from_db()
    assert alarm.state == "ALARM"
    assert watch() == 0, "once a minute is enough"


# --- the threshold to begin with ------------------------------------------------------------------------------------


def test_the_suggestion_is_above_the_highest_value_of_the_last_week(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    put_samples(configuration, clock() - timedelta(days=8), 5000)
    put_samples(configuration, clock() - timedelta(days=6), 12, 850, 30)
    fake_cloud.capacity = 5000
    found = suggestion(alarms_of(configuration), clock())
    assert found == Suggestion(1000, "Suggested: 1000, above the highest value of the last week (850).")


def test_a_suggestion_that_is_never_passed_says_so(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock
) -> None:
    fake_cloud.capacity = 4
    put_samples(configuration, clock(), 4)
    assert "There are only 4 vCPUs" in suggestion(alarms_of(configuration), clock()).reason


@pytest.mark.parametrize(("total", "threshold"), [(1, 0), (2, 1), (4, 3), (100, 80)])
def test_without_a_history_it_comes_from_the_capacity(
    configuration: CloudConfiguration, fake_cloud: FakeCloud, clock: Clock, total: int, threshold: int
) -> None:
    fake_cloud.capacity = total
    put_samples(configuration, clock(), 0, 0)
    found = suggestion(alarms_of(configuration), clock())
    assert found.threshold == threshold < total
    assert "nothing was in use in the last week" in found.reason


@given(st.integers(1, 10**6))
def test_the_threshold_is_above_and_not_far_above(highest: int) -> None:
    assert highest < above(highest) <= max(highest * 1.75, highest + 1)


# --- the plot -------------------------------------------------------------------------------------------------------


def test_the_plot_parts_its_line_where_there_is_no_data(configuration: CloudConfiguration, clock: Clock) -> None:
    clock.at = datetime(2026, 11, 2, 13, 3, tzinfo=UTC)
    at = datetime(2026, 11, 2, 11, 0, tzinfo=UTC)
    put_samples(configuration, at, 4)
    put_samples(configuration, at + timedelta(minutes=5), 2)
    put_samples(configuration, at + timedelta(minutes=20), 5)
    found = alarms_plot.plot(alarms_of(configuration), alarms_plot.RANGES["1d"], 10, clock())
    first = 288 - 5 * 12  # the last column ends at 16:00
    now = 288 - 3 * 12
    assert found.line == f"M{first} 636H{first + 1}V818H{first + 2} M{first + 4} 545H{first + 5}"
    assert [(gap.x, gap.width) for gap in found.gaps] == [(0, first), (first + 2, 2), (first + 5, now - first - 5)]
    assert found.labels == ["16:00", "20:00", "00:00", "04:00", "08:00", "12:00"]
    assert (found.threshold_y, found.top) == (91, 11)
    assert found.highest
    assert (found.highest.vcpus, found.highest.at) == (5, at + timedelta(minutes=20))
    assert found.latest == found.highest


def test_an_empty_plot_is_one_gap(configuration: CloudConfiguration, clock: Clock) -> None:
    clock.at = datetime(2026, 11, 2, 12, 3, tzinfo=UTC)
    found = alarms_plot.plot(alarms_of(configuration), alarms_plot.RANGES["2w"], None, clock())
    assert (found.line, found.area, found.highest) == ("", "", None)
    assert [(gap.x, gap.width) for gap in found.gaps] == [(0, 336 - 12)]


# --- two at the very same time --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_schedulers_that_work_at_the_same_moment_take_one_sample_and_tell_once(fake_cloud: FakeCloud) -> None:
    alarm = make_alarm(period_minutes=1, threshold=1)
    make_endpoint(alarm)
    running(alarm.configuration, fake_cloud, "local.4x", 2)
    results = together(*[watch] * 4)
    assert sum(result == 1 for result in results) == 1, results
    assert not any(isinstance(result, Exception) for result in results)
    minutes = list(UsageSample.objects.values_list("minute", flat=True))
    assert len(set(minutes)) == len(minutes) <= 2, "a minute may have ended meanwhile"
    assert OutgoingMail.objects.count() == AlarmChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_alarm_that_is_changed_while_it_is_looked_at_keeps_both(fake_cloud: FakeCloud) -> None:
    """The engine and the observer write to the same row."""
    alarm = make_alarm(period_minutes=1, threshold=1, due_at="2026-01-01T00:00:00Z")
    running(alarm.configuration, fake_cloud, "local.4x", 2)
    together(watch, lambda: engine.run("alarm", str(alarm.pk)), watch, lambda: engine.run("alarm", str(alarm.pk)))
    watch()
    alarm.refresh_from_db()
    assert (alarm.state, alarm.status, alarm.due_at, alarm.changes) == ("ALARM", "READY", None, 1)
    assert alarm.handle["watching"] == {"threshold": 1, "period": 60}
