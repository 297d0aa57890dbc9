"""Schedules: each fire once, whoever passes and whoever dies; what did not happen is told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.models import AuditEvent
from clusters.models import Cluster
from jobs import firing
from jobs.models import CatchUp, JobSchedule, Run, ScheduleFire
from jobs.services_schedules import create_schedule, delete_schedule, set_schedule_enabled, update_schedule
from jobs.services_templates import delete_template
from portal.errors import UserError
from tests.factories import actor, make_template
from tests.fakes import Clock, FakeCloud, Workers
from tests.jobs.flow import act, now_is

NOON = datetime(2126, 11, 24, 12, tzinfo=UTC)
"""Of a day to come: some fields have the time of the real clock."""


def make_schedule(cluster: Cluster, **fields: Any) -> JobSchedule:
    template = fields.pop("template", None) or make_template(cluster.workspace, cluster=cluster)
    values = {"name": "nightly", "cron": "*/10 * * * *", **fields}
    return create_schedule(actor=actor(), workspace=cluster.workspace, template=template, **values)


def fires(schedule: JobSchedule) -> list[tuple[str, str, int]]:
    rows = ScheduleFire.objects.of(schedule).reverse()
    return [(f"{row.fire_at:%H:%M}", row.outcome, row.missed) for row in rows]


@pytest.fixture(autouse=True)
def noon(clock: Clock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.at = NOON
    monkeypatch.setattr(firing, "_progress", firing._Progress(NOON - timedelta(days=1), NOON - timedelta(days=1)))


def test_a_schedule_fires_once_at_its_time(cluster: Cluster, clock: Clock, workers: Workers) -> None:
    schedule = make_schedule(cluster)
    assert schedule.next_fire_at == NOON + timedelta(minutes=10)
    assert firing.fire_due() == 0
    clock.move(minutes=10)
    assert firing.fire_due() == 1
    assert firing.fire_due() == 0
    run = Run.objects.get()
    assert (run.schedule, run.template, run.name) == (schedule, schedule.template, schedule.template.name)
    assert fires(schedule) == [("12:10", "STARTED", 0)]
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOON + timedelta(minutes=20)
    workers.work(seconds=1)
    assert now_is(run) == ("RUNNING", "")


def test_too_many_at_once_are_left_out_and_told(cluster: Cluster, clock: Clock, fake_cloud: FakeCloud) -> None:
    schedule = make_schedule(cluster, max_concurrent=2)
    for _ in range(4):
        clock.move(minutes=10)
        firing.fire_due()
    assert [row[1] for row in fires(schedule)] == ["STARTED", "STARTED", "SKIPPED", "SKIPPED"]
    assert Run.objects.count() == 2
    assert AuditEvent.objects.filter(verb="schedule.skipped").count() == 2
    Run.objects.update(status="SUCCEEDED", due_at=None)
    clock.move(minutes=10)
    firing.fire_due()
    assert Run.objects.count() == 3


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.NONE, [("12:10", "MISSED", 6)]),
        (CatchUp.LATEST, [("12:10", "MISSED", 5), ("13:00", "STARTED", 0)]),
    ],
)
def test_what_was_missed_is_told_and_caught_up_as_asked(
    cluster: Cluster, clock: Clock, catch_up: CatchUp, expected: list[tuple[str, str, int]]
) -> None:
    schedule = make_schedule(cluster, catch_up=catch_up)
    clock.move(minutes=65)
    assert firing.fire_due() == 1
    assert fires(schedule) == expected
    assert AuditEvent.objects.filter(verb="schedule.missed").count() == 1
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOON + timedelta(minutes=70)


def test_one_that_is_a_little_late_happens_and_those_before_it_were_missed(cluster: Cluster, clock: Clock) -> None:
    schedule = make_schedule(cluster)
    clock.move(minutes=31)
    firing.fire_due()
    assert fires(schedule) == [("12:10", "MISSED", 2), ("12:30", "STARTED", 0)]


def test_what_waits_for_others_of_its_time_was_not_missed(
    cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands that are due at once take minutes. A pass ends soon, and the next one goes on with the same moment."""
    monkeypatch.setattr(firing, "PASS_SECONDS", 0)
    schedules = [make_schedule(cluster, name=f"{number}") for number in range(3)]
    clock.move(minutes=11)
    for _ in schedules:
        assert firing.fire_due() == 1
        clock.move(seconds=110)
    assert [fires(schedule) for schedule in schedules] == [[("12:10", "STARTED", 0)]] * 3
    Run.objects.update(status="SUCCEEDED", due_at=None)
    monkeypatch.setattr(firing, "PASS_SECONDS", 60)
    monkeypatch.setattr(firing, "BATCH", 2)
    for _ in range(20):  # until 12:53; it is never more than two minutes away
        firing.fire_due()
        clock.move(seconds=110)
    assert not ScheduleFire.objects.filter(outcome="MISSED").exists()
    clock.move(minutes=20)  # now nobody was there
    firing.fire_due()
    assert ScheduleFire.objects.filter(outcome="MISSED").exists()


def test_a_clock_that_is_set_back_fires_nothing_twice_and_holds_nothing_up(cluster: Cluster, clock: Clock) -> None:
    schedule = make_schedule(cluster, max_concurrent=9)
    clock.move(minutes=10)
    firing.fire_due()
    clock.move(minutes=-1)
    update_schedule(actor=actor(), schedule=schedule, template=schedule.template, description="again due at 12:10")
    clock.move(minutes=1)
    assert firing.fire_due() == 0
    assert fires(schedule) == [("12:10", "STARTED", 0)]
    assert Run.objects.count() == 1
    clock.move(minutes=10)
    firing.fire_due()
    assert fires(schedule)[1:] == [("12:20", "STARTED", 0)]


def test_a_long_past_is_counted_without_an_end(cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MOST", 100)
    schedule = make_schedule(cluster, cron="* * * * *", catch_up=CatchUp.LATEST)
    clock.move(days=30)
    firing.fire_due()
    (missed, started) = ScheduleFire.objects.of(schedule).reverse()
    assert (missed.outcome, started.outcome, started.fire_at) == ("MISSED", "STARTED", clock())
    assert "or more" in missed.detail


def test_off_and_on_again_catches_nothing_up(cluster: Cluster, clock: Clock) -> None:
    schedule = make_schedule(cluster, catch_up=CatchUp.LATEST)
    set_schedule_enabled(actor=actor(), schedule=schedule, enabled=False)
    clock.move(minutes=65)
    assert firing.fire_due() == 0
    set_schedule_enabled(actor=actor(), schedule=schedule, enabled=True)
    assert firing.fire_due() == 0
    assert fires(schedule) == []
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOON + timedelta(minutes=70)


def test_a_run_that_cannot_be_submitted_is_told_and_the_next_one_tried(
    cluster: Cluster, clock: Clock, workers: Workers
) -> None:
    schedule = make_schedule(cluster)
    act(cluster, "stop")
    workers.work(seconds=5)
    clock.at = NOON + timedelta(minutes=10)
    firing.fire_due()
    (row,) = ScheduleFire.objects.of(schedule)
    assert (row.outcome, row.run) == ("FAILED", None)
    assert "stopped" in row.detail
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOON + timedelta(minutes=20)


def test_a_scheduler_that_dies_before_its_commit_has_done_nothing(
    cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = make_schedule(cluster)
    clock.move(minutes=10)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.firing.events.notify", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        firing.fire_due()
    assert (Run.objects.count(), fires(schedule)) == (0, [])
    firing.fire_due()
    assert (Run.objects.count(), fires(schedule)) == (1, [("12:10", "STARTED", 0)])


def test_one_broken_schedule_does_not_keep_others_from_their_time(cluster: Cluster, clock: Clock) -> None:
    broken = make_schedule(cluster, name="broken")
    JobSchedule.objects.filter(pk=broken.pk).update(cron="no cron")
    good = make_schedule(cluster, name="good")
    clock.move(minutes=10)
    assert firing.fire_due() == 1
    assert fires(good) == [("12:10", "STARTED", 0)]


def test_a_changed_plan_holds_from_now_on(cluster: Cluster, clock: Clock) -> None:
    schedule = make_schedule(cluster)
    clock.move(minutes=5)
    update_schedule(
        actor=actor(), schedule=schedule, template=schedule.template, cron="0 3 * * *", timezone="Asia/Tokyo"
    )
    schedule.refresh_from_db()
    assert schedule.next_fire_at == datetime(2126, 11, 24, 18, tzinfo=UTC)
    event = AuditEvent.objects.get(verb="schedule.update")
    assert event.detail["before"] == {"cron": "*/10 * * * *", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"cron": "every day"}, "CronInvalid"),
        ({"timezone_name": "Mars/Base"}, "TimeZoneUnknown"),
        ({"name": "NIGHTLY"}, "NameTaken"),
    ],
)
def test_what_cannot_be_is_refused(cluster: Cluster, fields: dict[str, Any], code: str) -> None:
    make_schedule(cluster)
    with pytest.raises(UserError, match=code):
        make_schedule(cluster, **{"name": "other", **fields})


def test_a_template_without_a_place_or_deleted_cannot_be_scheduled(cluster: Cluster) -> None:
    nowhere = make_template(cluster.workspace)
    with pytest.raises(UserError, match="NoCluster"):
        make_schedule(cluster, template=nowhere)
    delete_template(actor=actor(), template=nowhere)
    with pytest.raises(UserError, match="TemplateGone"):
        make_schedule(cluster, template=nowhere)


def test_a_template_with_a_schedule_stays_until_the_schedule_goes(cluster: Cluster, clock: Clock) -> None:
    schedule = make_schedule(cluster)
    with pytest.raises(UserError, match="nightly"):
        delete_template(actor=actor(), template=schedule.template)
    delete_schedule(actor=actor(), schedule=schedule)
    delete_template(actor=actor(), template=schedule.template)
    clock.move(minutes=30)
    assert firing.fire_due() == 0
    with pytest.raises(UserError, match="ScheduleGone"):
        delete_schedule(actor=actor(), schedule=schedule)
    assert make_schedule(cluster).name == "nightly"  # its name is free again


@pytest.mark.django_db(transaction=True)
def test_four_schedulers_at_once_fire_each_schedule_once() -> None:
    from tests.factories import make_cluster, make_organization, make_workspace

    place = make_cluster(make_workspace(make_organization()))
    schedules = [make_schedule(place, name=f"s{number}") for number in range(8)]
    JobSchedule.objects.update(next_fire_at=NOON - timedelta(seconds=5), cron="0 0 1 1 *")
    start = threading.Barrier(4)

    def passing() -> None:
        start.wait()
        try:
            firing.fire_due()
        finally:
            connection.close()

    threads = [threading.Thread(target=passing) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Run.objects.count() == len(schedules)
    assert ScheduleFire.objects.filter(outcome="STARTED").count() == len(schedules)
