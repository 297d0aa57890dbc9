"""Schedulers are killed at every statement: each fire happens once, and no row is forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from clusters.models import Cluster
from jobs import firing, reconcile
from jobs.models import CatchUp, JobSchedule, Run, ScheduleFire
from jobs.services_schedules import create_schedule
from portal import reconcile as engine
from tests.clouds.local_world import wait_for
from tests.factories import actor, make_template
from tests.kills.dying import alongside, every_death, killed_at
from tests.kills.ground import Ground, check_end


def make_schedule(ground: Ground, cluster: Cluster, **fields: object) -> JobSchedule:
    """A yearly one, so that nothing else of it falls into the test."""
    template = make_template(ground.workspace, cluster=cluster, file="program.py")
    name = f"s {template.name}"
    return create_schedule(
        actor=actor(),
        workspace=ground.workspace,
        template=template,
        name=name,
        cron="0 0 1 1 *",
        **fields,  # type: ignore[arg-type]
    )


def test_a_fire(ground: Ground) -> None:
    """Two schedulers die of it, then two at once do it."""
    cluster = ground.new_cluster()

    def one(n: int) -> str:
        schedule = make_schedule(ground, cluster)
        JobSchedule.objects.filter(pk=schedule.pk).update(next_fire_at=timezone.now() - timedelta(seconds=1))
        effect, _ = (killed_at(n, firing.fire_due, inside=True) for _ in range(2))
        alongside(firing.fire_due, firing.fire_due)
        fires = [(fire.outcome, fire.run) for fire in ScheduleFire.objects.of(schedule)]
        run = Run.objects.get(schedule=schedule)
        assert fires == [("STARTED", run)]
        schedule.refresh_from_db()
        assert schedule.next_fire_at
        assert schedule.next_fire_at > timezone.now()
        check_end(ground, ground.end(run), "SUCCEEDED")
        return effect

    deaths = list(every_death(one))
    assert "COMMIT" in deaths
    assert len(deaths) > 5, "statements"


@pytest.mark.parametrize(
    ("catch_up", "outcomes"), [(CatchUp.NONE, ["MISSED"]), (CatchUp.LATEST, ["MISSED", "STARTED"])]
)
def test_what_was_missed(ground: Ground, catch_up: CatchUp, outcomes: list[str]) -> None:
    cluster = ground.new_cluster()

    def one(n: int) -> str:
        schedule = make_schedule(ground, cluster, catch_up=catch_up)
        past = timezone.now() - timedelta(days=1000)
        JobSchedule.objects.filter(pk=schedule.pk).update(next_fire_at=past)
        effect = killed_at(n, firing.fire_due, inside=True)
        alongside(firing.fire_due, firing.fire_due)
        assert sorted(fire.outcome for fire in ScheduleFire.objects.of(schedule)) == outcomes
        for run in Run.objects.filter(schedule=schedule):
            check_end(ground, ground.end(run), "SUCCEEDED")
        return effect

    assert "COMMIT" in list(every_death(one))


def test_the_sweep_and_the_looks_at_runs(ground: Ground) -> None:
    cluster = ground.new_cluster()

    def one(n: int) -> str:
        run = ground.submit(cluster)
        swept = killed_at(n, engine.sweep)
        ground.work(run)
        wait_for(lambda: ground.exit_of(run))
        polled = killed_at(n, reconcile.poll_runs)
        check_end(ground, ground.end(run), "SUCCEEDED")
        return swept or polled

    assert len(list(every_death(one))) > 1
