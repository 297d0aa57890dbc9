"""The mail before an idle cluster is let go: to whom, when, once; and the link in it, whatever one does to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import AuditEvent, User
from accounts.permissions import WorkspaceRole
from clusters import services, services_idle, snooze_links
from clusters.models import Cluster
from portal.models import OutgoingMail
from tests.factories import (
    PASSWORD,
    actor,
    add_to_workspace,
    make_cluster,
    make_organization,
    make_user,
    make_workspace,
    stay_away,
)
from tests.fakes import Clock, Killed
from tests.mailbox import delivered, link_in_mail
from tests.together import together
from workspaces.models import Workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization(make_user("owner")), name="Lab")


@pytest.fixture
def developer(workspace: Workspace) -> User:
    user = make_user("developer")
    add_to_workspace(workspace, user, WorkspaceRole.DEVELOPER)
    return user


@pytest.fixture
def cluster(workspace: Workspace, developer: User, clock: Clock) -> Cluster:
    """Idle since now, to be paused in an hour; the developer used it last."""
    return make_cluster(
        workspace,
        name="etl",
        auto_pause_minutes=60,
        last_activity_at=clock.at,
        created_by=workspace.organization.memberships.first().user,  # type: ignore[union-attr]
        last_used_by=developer,
    )


def warn() -> int:
    return services_idle.warn_idle()


def to() -> list[str]:
    return [message.to[0] for message in delivered()]


# --- when and to whom -----------------------------------------------------------------------------------------------


def test_ten_minutes_before_and_once(cluster: Cluster, clock: Clock, developer: User) -> None:
    clock.move(minutes=50, microseconds=-1)
    assert warn() == 0
    clock.move(microseconds=1)
    assert (warn(), warn(), warn()) == (1, 0, 0)
    (message,) = delivered()
    assert message.to == [developer.email]
    at = f"{cluster.last_activity_at + timedelta(hours=1):%H:%M}"
    assert message.subject == f"etl will be paused at {at} UTC"
    assert "after 60 minutes without a job, it will be paused" in str(message.body)
    event = AuditEvent.objects.get(verb="cluster.warn")
    assert (event.detail["to"], event.detail["action"]) == (developer.email, "pause")


@pytest.mark.parametrize(
    ("fields", "before", "mails"),
    [
        ({"auto_pause_minutes": 14}, 1, 0),
        ({"auto_pause_minutes": 15}, 5, 1),
        ({"auto_pause_minutes": 15}, 5.01, 0),
        ({"auto_pause_minutes": 1440}, 10, 1),
        ({"auto_pause_minutes": 0, "auto_stop_minutes": 60}, 10, 1),
        ({"auto_pause_minutes": 5, "auto_stop_minutes": 60}, 1, 0),
        ({"status": "PAUSED", "target": "PAUSED", "auto_stop_minutes": 60}, 10, 1),
        ({"busy_with": "00000000-0000-0000-0000-000000000001"}, 5, 0),
        ({"dedicated_to": "00000000-0000-0000-0000-000000000001"}, 5, 0),
        ({"auto_pause_minutes": 60}, 0, 0),  # too late: it is let go now
    ],
)
def test_who_is_told_when(cluster: Cluster, clock: Clock, fields: dict[str, Any], before: float, mails: int) -> None:
    Cluster.objects.filter(pk=cluster.pk).update(**fields)
    cluster.refresh_from_db()
    minutes = min(filter(None, [cluster.auto_pause_minutes * (cluster.status == "RUNNING"), cluster.auto_stop_minutes]))
    clock.move(minutes=minutes - before)
    assert warn() == mails


def test_the_operator_can_switch_it_off_or_move_it(cluster: Cluster, clock: Clock, settings: Settings) -> None:
    settings.PORTAL_IDLE_WARNING_MINUTES = 0
    clock.move(minutes=55)
    assert warn() == 0
    settings.PORTAL_IDLE_WARNING_MINUTES = 4
    assert warn() == 0
    clock.move(minutes=1)
    assert warn() == 1


@pytest.mark.parametrize("gone", ["viewer", "out", "inactive", "locked"])
def test_who_may_no_longer_is_not_told_but_who_made_it(
    cluster: Cluster, clock: Clock, developer: User, gone: str
) -> None:
    take_away(cluster, developer, gone)
    clock.move(minutes=55)
    assert warn() == 1
    assert cluster.created_by
    assert to() == [cluster.created_by.email]


def take_away(cluster: Cluster, user: User, how: str) -> None:
    if how == "viewer":
        user.workspace_memberships.update(role=WorkspaceRole.VIEWER)
    elif how == "out":
        user.memberships.all().delete()
    elif how == "inactive":
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        stay_away(user, days=91)


def test_nobody_is_told_of_what_nobody_used(workspace: Workspace, clock: Clock) -> None:
    make_cluster(workspace, auto_pause_minutes=60, last_activity_at=clock.at)
    clock.move(minutes=55)
    assert (warn(), warn(), to()) == (0, 0, [])


def test_another_stretch_has_another_mail_and_so_has_the_end_of_a_snooze(cluster: Cluster, clock: Clock) -> None:
    clock.move(minutes=55)
    assert warn() == 1
    services_idle.snooze_cluster(actor=actor(), cluster=cluster, minutes=60)
    assert warn() == 0
    clock.move(minutes=50)
    assert (warn(), warn()) == (1, 0)
    Cluster.objects.filter(pk=cluster.pk).update(last_activity_at=clock.at, snoozed_until=None)
    assert warn() == 0
    clock.move(minutes=50)
    assert (warn(), warn()) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_two_schedulers_send_one_mail(clock: Clock) -> None:
    owner = make_user("owner")
    workspace = make_workspace(make_organization(owner))
    for _ in range(4):
        make_cluster(workspace, auto_pause_minutes=60, last_activity_at=clock.at, created_by=owner)
    clock.move(minutes=55)
    counts = together(*[services_idle.warn_idle] * 3)
    assert sum(int(str(count)) for count in counts) == 4
    assert OutgoingMail.objects.count() == 4


@pytest.mark.parametrize("where", ["accounts.letters.send", "clusters.services_idle._record"])
def test_a_scheduler_that_dies_in_between_has_sent_nothing_or_one(
    cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    clock.move(minutes=55)
    with monkeypatch.context() as patched:
        patched.setattr(where, die)
        with pytest.raises(Killed):
            warn()
    assert OutgoingMail.objects.count() == 0
    assert Cluster.objects.get(pk=cluster.pk).announced_for is None
    assert (warn(), warn()) == (1, 0)


# --- the link -------------------------------------------------------------------------------------------------------


@pytest.fixture
def link(cluster: Cluster, clock: Clock, developer: User) -> str:
    cache.clear()
    clock.move(minutes=52)
    assert warn() == 1
    return link_in_mail(developer.email)


def snoozed(cluster: Cluster) -> Any:
    return Cluster.objects.get(pk=cluster.pk).snoozed_until


def code(response: Any) -> str:
    found = response.content.decode().partition("<code>")[2].partition("</code>")[0]
    return str(found)


def test_looking_does_nothing_and_the_button_snoozes(
    cluster: Cluster, clock: Clock, link: str, developer: User
) -> None:
    """Signed out, as on a telephone."""
    client = Client()
    for method in (client.get, client.head, client.get):
        response = method(link)
        assert response.status_code == 200
        assert snoozed(cluster) is None
        assert response["X-Robots-Tag"] == "noindex, nofollow"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["Cache-Control"] == "no-store"
    assert client.post(link, {"minutes": "240"}).status_code == 302
    assert snoozed(cluster) == clock.at + timedelta(hours=4)
    assert "Snoozed" in client.get(link).content.decode()
    event = AuditEvent.objects.get(verb="cluster.snooze")
    assert (event.actor_user, event.detail["via"]) == (developer, "link in a mail")
    assert "sessionid" not in client.cookies
    assert client.get(cluster.get_absolute_url()).status_code == 302, "the link is no sign-in"


@pytest.mark.parametrize("minutes", ["", "480", "1440", "31", "x"])
def test_it_offers_less_than_the_page(cluster: Cluster, link: str, minutes: str) -> None:
    assert Client().post(link, {"minutes": minutes}).status_code == 422
    assert snoozed(cluster) is None


def test_a_link_that_was_changed_does_nothing(cluster: Cluster, link: str, developer: User) -> None:
    key = link.removeprefix("/snooze/").removesuffix("/")
    signed, _, signature = key.rpartition(":")
    parts = signed.split("~")
    forged = [key[:-1], key[1:], signed, f"{signed}:", f"{signed}:{signature[::-1]}", "x", f"{key}x", "~~~:x"]
    forged += [f"{'~'.join([*parts[:n], '1', *parts[n + 1 :]])}:{signature}" for n in range(4)]
    client = Client()
    for each in forged:
        for response in (client.get(f"/snooze/{each}/"), client.post(f"/snooze/{each}/", {"minutes": "60"})):
            assert (response.status_code, code(response)) == (404, "SnoozeLinkBroken"), each
    assert snoozed(cluster) is None


def test_a_signature_for_something_else_does_not_count(cluster: Cluster, link: str) -> None:
    from django.core import signing

    signed = link.removeprefix("/snooze/").removesuffix("/").rpartition(":")[0]
    for salt in ("accounts.activation", "django.core.signing", ""):
        assert Client().get(f"/snooze/{signing.Signer(salt=salt).sign(signed)}/").status_code == 404


def test_it_expires(cluster: Cluster, clock: Clock, link: str) -> None:
    Cluster.objects.filter(pk=cluster.pk).update(auto_pause_minutes=10_000)
    clock.move(days=1, seconds=-1)
    assert Client().get(link).status_code == 200
    clock.move(seconds=1)
    for response in (Client().get(link), Client().post(link, {"minutes": "60"})):
        assert (response.status_code, code(response)) == (410, "SnoozeLinkExpired")
    assert snoozed(cluster) is None


@pytest.mark.parametrize("how", ["viewer", "out", "inactive", "locked"])
def test_who_may_no_longer_change_the_cluster_cannot(
    cluster: Cluster, clock: Clock, link: str, developer: User, how: str
) -> None:
    take_away(cluster, developer, how)
    for response in (Client().get(link), Client().post(link, {"minutes": "60"})):
        assert (response.status_code, code(response)) == (403, "SnoozeLinkRefused")
        assert "etl" not in response.content.decode(), "what they may not see"
    assert snoozed(cluster) is None


def test_it_is_worth_nothing_to_somebody_else_who_is_signed_in(cluster: Cluster, link: str, developer: User) -> None:
    client = Client()
    client.force_login(make_user("stranger"))
    for response in (client.get(link), client.post(link, {"minutes": "60"})):
        assert (response.status_code, code(response)) == (403, "SnoozeLinkForAnother")
        assert "etl" not in response.content.decode()
        assert developer.email not in response.content.decode()
    assert snoozed(cluster) is None
    client.logout()
    client.post("/accounts/login/", {"login": developer.email, "password": PASSWORD})
    assert client.post(link, {"minutes": "60"}).status_code == 302


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "PAUSED", "target": "PAUSED"}, "NothingToSnooze"),
        ({"status": "STOPPED", "target": "STOPPED"}, "NothingToSnooze"),
        ({"auto_pause_minutes": 0}, "NothingToSnooze"),
        ({"last_activity_at": timedelta(minutes=1)}, "UsedSince"),
        ({"status": "TERMINATED", "target": "TERMINATED"}, "ClusterGone"),
    ],
)
def test_when_the_stretch_is_over_the_page_says_what_to_do(
    cluster: Cluster, link: str, change: dict[str, Any], expected: str
) -> None:
    if "last_activity_at" in change:
        change = {"last_activity_at": cluster.last_activity_at + change["last_activity_at"]}
    Cluster.objects.filter(pk=cluster.pk).update(**change)
    for response in (Client().get(link), Client().post(link, {"minutes": "60"})):
        assert response.status_code in {409, 410}
        assert code(response) == expected
        assert 'class="muted"' in response.content.decode()
    assert snoozed(cluster) is None


def test_the_stretch_is_asked_again_under_the_lock(cluster: Cluster, link: str, developer: User) -> None:
    """A run that begins between the look and the press."""
    seen = snooze_links.opened(link.split("/")[2])
    services.used(cluster, cluster.pk, "quicker")
    with pytest.raises(Exception, match="UsedSince"):
        services_idle.snooze_cluster(
            actor=actor(developer), cluster=seen.cluster, minutes=60, idle_since=seen.idle_since
        )


def test_tries_are_counted(cluster: Cluster, link: str) -> None:
    client = Client()
    answers = [client.get("/snooze/guess/").status_code for _ in range(61)]
    assert answers == [404] * 60 + [429]
    cache.clear()
    answers = [client.post(link, {"minutes": "60"}).status_code for _ in range(21)]
    assert answers == [302] * 20 + [429]
    cache.clear()


def test_the_link_is_in_the_mail_and_nowhere_else(
    cluster: Cluster, clock: Clock, developer: User, caplog: pytest.LogCaptureFixture
) -> None:
    clock.move(minutes=52)
    warn()
    row = OutgoingMail.objects.get()
    assert "/snooze/" not in row.sealed
    key = link_in_mail(developer.email).split("/")[2]
    assert key not in str(list(AuditEvent.objects.values_list("detail", flat=True)))
    Client().get(f"/snooze/{key}/")
    Client().get(f"/snooze/{key}x/")
    assert key not in caplog.text
