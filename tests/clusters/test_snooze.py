"""Putting off the pause of an idle cluster: how far, by whom, and at the same moment as the sweep."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEvent
from accounts.permissions import WorkspaceRole
from clusters import services, services_idle
from clusters.models import Cluster
from clusters.services import ACTIONS
from portal.errors import UserError
from tests.factories import actor, add_to_workspace, make_cluster, make_organization, make_user, make_workspace
from tests.fakes import Clock
from tests.together import together
from workspaces.models import Workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization(make_user("owner")))


@pytest.fixture
def cluster(workspace: Workspace, clock: Clock) -> Cluster:
    """Idle since now, to be paused in an hour and stopped in two."""
    return make_cluster(workspace, auto_pause_minutes=60, auto_stop_minutes=120, last_activity_at=clock.at)


def snooze(cluster: Cluster, minutes: int, **given: Any) -> datetime:
    return services_idle.snooze_cluster(actor=actor(), cluster=cluster, minutes=minutes, **given)


def target(cluster: Cluster) -> str:
    return Cluster.objects.get(pk=cluster.pk).target


def test_it_puts_off_the_pause_and_then_it_is_over(cluster: Cluster, clock: Clock) -> None:
    until = snooze(cluster, 90)
    assert until == clock.at + timedelta(minutes=90)
    clock.move(minutes=90, microseconds=-1)
    assert services_idle.pause_idle() == 0
    clock.move(microseconds=1)
    assert services_idle.pause_idle() == 1
    assert target(cluster) == "PAUSED"
    assert Cluster.objects.get(pk=cluster.pk).snoozed_until is None


def test_it_puts_off_the_stop(cluster: Cluster, clock: Clock) -> None:
    snooze(cluster, 240)
    clock.move(minutes=239)
    assert services_idle.pause_idle() == 0
    clock.move(minutes=1)
    assert services_idle.pause_idle() == 1
    assert target(cluster) == "STOPPED"


@pytest.mark.parametrize("minutes", [0, -5, 24 * 60 + 1, 10**9])
def test_it_is_bounded(cluster: Cluster, minutes: int) -> None:
    with pytest.raises(UserError, match="SnoozeTooLong"):
        snooze(cluster, minutes)
    assert Cluster.objects.get(pk=cluster.pk).snoozed_until is None
    snooze(cluster, 24 * 60)


def test_again_and_again_is_never_more_than_a_day_ahead(cluster: Cluster, clock: Clock) -> None:
    for _ in range(5):
        until = snooze(cluster, 24 * 60)
        assert until - clock.at <= timedelta(days=1)


def test_a_shorter_one_changes_nothing_and_is_no_event(cluster: Cluster, clock: Clock) -> None:
    until = snooze(cluster, 240)
    assert snooze(cluster, 30) == until
    assert AuditEvent.objects.filter(verb="cluster.snooze").count() == 1


def test_ending_it(cluster: Cluster, clock: Clock) -> None:
    snooze(cluster, 600)
    clock.move(minutes=70)
    services_idle.end_snooze(actor=actor(), cluster=cluster)
    services_idle.end_snooze(actor=actor(), cluster=cluster)
    assert services_idle.pause_idle() == 1
    event = AuditEvent.objects.get(verb="cluster.end_snooze")
    assert event.detail["after"] == {"snoozed_until": None}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "PAUSED", "target": "PAUSED", "auto_stop_minutes": 0}, "is not set to be stopped"),
        ({"auto_pause_minutes": 0, "auto_stop_minutes": 0}, "is not set to be paused"),
        ({"status": "STOPPED", "target": "STOPPED"}, "is STOPPED"),
        ({"status": "FAILED"}, "is FAILED"),
        ({"target": "TERMINATED"}, "is RUNNING"),
    ],
)
def test_where_there_is_nothing_to_put_off(cluster: Cluster, fields: dict[str, Any], message: str) -> None:
    Cluster.objects.filter(pk=cluster.pk).update(**fields)
    with pytest.raises(UserError, match="NothingToSnooze") as raised:
        snooze(cluster, 60)
    assert message in raised.value.message


def test_whoever_pauses_or_resumes_it_has_ended_the_snooze(cluster: Cluster) -> None:
    snooze(cluster, 600)
    services.act(actor=actor(), cluster=cluster, action=ACTIONS["pause"])
    assert Cluster.objects.get(pk=cluster.pk).snoozed_until is None


def test_a_run_does_not_end_it(cluster: Cluster, clock: Clock) -> None:
    import uuid

    snooze(cluster, 600)
    holder = uuid.uuid4()
    services.claim(cluster.pk, holder)
    services.release(cluster.pk, holder)
    clock.move(minutes=599)
    Cluster.objects.update(due_at=None)
    assert services_idle.pause_idle() == 0


@pytest.mark.django_db(transaction=True)
def test_a_snooze_and_the_sweep_at_the_same_moment(clock: Clock) -> None:
    """Whoever comes first: it is snoozed and runs, or it is paused and the person is told so. Never both."""
    workspace = make_workspace(make_organization(make_user("owner")))
    outcomes = set()
    for _ in range(6):
        cluster = make_cluster(workspace, auto_pause_minutes=60, last_activity_at=clock.at - timedelta(hours=1))
        snoozed, paused = together(lambda cluster=cluster: snooze(cluster, 60), services_idle.pause_idle)  # type: ignore[misc]
        row = Cluster.objects.get(pk=cluster.pk)
        if isinstance(snoozed, UserError):
            assert snoozed.code == "NothingToSnooze"
            assert (row.target, row.snoozed_until, paused) == ("PAUSED", None, 1)
        else:
            assert (row.target, row.snoozed_until, paused) == ("RUNNING", snoozed, 0)
        outcomes.add(row.target)
        Cluster.objects.filter(pk=cluster.pk).update(status="TERMINATED")
    assert outcomes


# --- the page -------------------------------------------------------------------------------------------------------


def test_from_the_page(cluster: Cluster, clock: Clock) -> None:
    developer = make_user("developer")
    add_to_workspace(cluster.workspace, developer, WorkspaceRole.DEVELOPER)
    client = Client()
    client.force_login(developer)
    page = cluster.get_absolute_url()
    assert 'name="minutes"' in client.get(page).content.decode()
    assert client.post(f"{page}snooze/", {"minutes": "240"}).status_code == 302
    shown = client.get(page).content.decode()
    assert "Snoozed by Developer Example" in shown
    assert "End snooze" in shown
    event = AuditEvent.objects.get(verb="cluster.snooze")
    assert (event.actor_user, event.detail["after"]["snoozed_until"][:10]) == (developer, f"{clock.at:%Y-%m-%d}")
    assert client.post(f"{page}snooze/end/").status_code == 302
    assert "End snooze" not in client.get(page).content.decode()


def test_a_viewer_sees_the_countdown_and_no_button(cluster: Cluster, clock: Clock) -> None:
    viewer = make_user("viewer")
    add_to_workspace(cluster.workspace, viewer, WorkspaceRole.VIEWER)
    client = Client()
    client.force_login(viewer)
    page = client.get(cluster.get_absolute_url()).content.decode()
    assert 'data-time="countdown"' in page
    assert "snooze/" not in page
    assert client.post(f"{cluster.get_absolute_url()}snooze/", {"minutes": "60"}).status_code == 403


@pytest.mark.parametrize("minutes", ["", "x", "31", "9999999"])
def test_only_the_times_that_are_offered(cluster: Cluster, minutes: str) -> None:
    client = Client()
    client.force_login(cluster.workspace.organization.memberships.get().user)
    response = client.post(f"{cluster.get_absolute_url()}snooze/", {"minutes": minutes})
    assert response.status_code == 422
    assert Cluster.objects.get(pk=cluster.pk).snoozed_until is None
