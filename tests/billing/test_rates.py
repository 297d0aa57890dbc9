"""What an hour costs: one price at a time, none changed once it was charged, files loaded whole or not at all."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.audit import SYSTEM
from accounts.models import AuditEvent
from billing import rates
from billing.models import Rate
from clusters import services
from clusters.models import Cluster
from portal.errors import UserError
from tests.clouds.local_world import wait_for
from tests.factories import actor, make_cluster, make_organization, make_user, make_workspace
from workspaces.models import Workspace

NOW = timezone.now().replace(microsecond=0)
SOON, LATER, LATEST = (NOW + timedelta(days=days) for days in (1, 2, 3))
PAST = NOW - timedelta(days=30)
HEAD = ",".join(rates.COLUMNS)


@pytest.fixture(autouse=True)
def no_rates(db: None) -> None:
    """Without those that a migration sets for LOCAL."""
    Rate.objects.all().delete()


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization(make_user()))


def put(hourly: str, valid_from: datetime, valid_to: datetime | None = None, kind: str = "local.1x") -> bool:
    price = {"hourly": Decimal(hourly), "valid_from": valid_from, "valid_to": valid_to}
    return rates.put(actor=SYSTEM, provider="LOCAL", instance_type=kind, **price)[1]  # type: ignore[arg-type]


def stored(kind: str = "local.1x") -> list[tuple[str, datetime, datetime | None]]:
    rows = Rate.objects.filter(instance_type=kind).order_by("valid_from")
    return [(f"{row.hourly.normalize():f}", row.valid_from, row.valid_to) for row in rows]


# --- one price at a time --------------------------------------------------------------------------------------------


def test_a_rate_holds_from_its_beginning_until_its_end(settings: Settings) -> None:
    settings.PORTAL_DEFAULT_HOURLY = None
    put("1", SOON, LATER)
    put("2", LATER)
    at = [rates.hourly_at("LOCAL", "local.1x", when) for when in (SOON - timedelta(microseconds=1), SOON, LATER)]
    assert at == [None, 1, 2]
    assert rates.hourly_at("LOCAL", "local.2x", SOON) is None
    assert rates.hourly_at("AWS", "local.1x", SOON) is None
    settings.PORTAL_DEFAULT_HOURLY = Decimal("0.5")
    assert rates.hourly_at("LOCAL", "local.2x", SOON) == Decimal("0.5")
    assert rates.hourly_at("LOCAL", "local.1x", SOON) == 1


def test_a_new_price_ends_the_one_before_it() -> None:
    put("1", PAST)
    assert put("2", SOON)
    assert stored() == [("1", PAST, SOON), ("2", SOON, None)]
    events = AuditEvent.objects.filter(object_type="rate").order_by("number")
    assert [event.verb for event in events] == ["rate.create", "rate.update", "rate.create"]
    assert events[1].detail["before"] == {"valid_to": None}
    assert events[1].detail["after"] == {"valid_to": SOON.isoformat()}


def test_a_price_in_between_ends_where_the_next_begins() -> None:
    put("1", PAST)
    put("3", LATER)
    put("2", SOON)
    assert stored() == [("1", PAST, SOON), ("2", SOON, LATER), ("3", LATER, None)]


def test_a_price_can_end_before_the_next_begins() -> None:
    put("3", LATEST)
    put("2", SOON, LATER)
    assert stored() == [("2", SOON, LATER), ("3", LATEST, None)]
    with pytest.raises(UserError, match=r"Another price of local\.1x on LOCAL begins") as refusal:
        put("1", SOON - timedelta(hours=1), LATEST)
    assert refusal.value.code == "RateOverlaps"


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_the_second_sees_what_the_first_has_put() -> None:
    Rate.objects.all().delete()
    first_has_put, outcomes = threading.Event(), []

    def second() -> None:
        try:
            first_has_put.wait(20)
            outcomes.append(put("1", SOON))
        finally:
            connection.close()

    other = threading.Thread(target=second)
    other.start()
    with transaction.atomic():
        assert put("1", SOON)
        first_has_put.set()
        wait_for(somebody_waits)
    other.join(20)
    assert outcomes == [False]
    assert stored() == [("1", SOON, None)]


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'billing_rate'::regclass")
        return cursor.fetchone() is not None


def test_putting_the_same_again_changes_nothing() -> None:
    put("1", PAST)
    put("2", SOON)
    before = stored(), AuditEvent.objects.count()
    assert not put("1", PAST)
    assert not put("2.000000", SOON)
    assert (stored(), AuditEvent.objects.count()) == before


def test_a_price_to_come_can_be_corrected() -> None:
    put("2", SOON)
    assert put("2.5", SOON)
    assert stored() == [("2.5", SOON, None)]
    event = AuditEvent.objects.order_by("-number")[0]
    assert (event.verb, event.detail["before"]["hourly"], event.detail["after"]["hourly"]) == (
        "rate.update",
        "2.000000",
        "2.5",
    )


@pytest.mark.parametrize("when", [PAST, PAST + timedelta(days=1), NOW - timedelta(seconds=1)])
def test_what_was_charged_stays(when: datetime) -> None:
    put("1", PAST)
    with pytest.raises(UserError) as refusal:
        put("2", when)
    assert refusal.value.code == "RateInForce"
    assert "Give the new price a time to come." in refusal.value.hint
    assert stored() == [("1", PAST, None)]


def test_a_first_price_may_begin_in_the_past() -> None:
    put("1", PAST)
    assert stored() == [("1", PAST, None)]


def test_the_database_refuses_two_prices_at_a_time_and_other_nonsense() -> None:
    put("1", PAST)
    kind: dict[str, Any] = {"provider": "LOCAL", "instance_type": "local.1x"}
    for name, wrong in {
        "rate_one_at_a_time": {**kind, "hourly": 2, "valid_from": SOON},
        "rate_ends_after_start": {**kind, "instance_type": "x", "hourly": 2, "valid_from": SOON, "valid_to": SOON},
        "rate_not_negative": {**kind, "instance_type": "x", "hourly": -1, "valid_from": SOON},
    }.items():
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Rate.objects.create(**wrong)


def test_prices_of_before_the_rule_are_put_in_order() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_rate DROP CONSTRAINT rate_one_at_a_time")
    for hourly, valid_from, valid_to in ((1, PAST, None), (2, SOON, LATEST), (3, LATER, None), (4, LATER, None)):
        Rate.objects.create(
            provider="LOCAL", instance_type="local.1x", hourly=hourly, valid_from=valid_from, valid_to=valid_to
        )
    import_module("billing.migrations.0003_rates_one_at_a_time").end_where_the_next_begins(apps, None)
    assert stored() == [("1", PAST, SOON), ("2", SOON, LATER), ("4", LATER, None)]


# --- files ----------------------------------------------------------------------------------------------------------


def load(path: Path, *options: str) -> str:
    said = io.StringIO()
    call_command("load_rates", str(path), *options, stdout=said)
    return said.getvalue().strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rates.csv"
    lines = [
        HEAD,
        f"LOCAL,c5.large,0.085,{PAST:%Y-%m-%d},",
        f"LOCAL,c5.large,0.09,{SOON:%Y-%m-%dT%H:%M:%SZ},",
        "LOCAL,local.1x,0,2020-01-01,2021-01-01T02:00+02:00",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_is_loaded_and_loading_it_again_changes_nothing(file: Path) -> None:
    assert load(file, "--dry-run") == "3 prices would change, 0 are known already."
    assert not Rate.objects.exists()
    assert load(file) == "3 prices changed, 0 are known already."
    midnight = datetime.combine(PAST.date(), datetime.min.time(), UTC)
    assert stored("c5.large") == [("0.085", midnight, SOON), ("0.09", SOON, None)]
    assert stored() == [("0", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))]
    assert load(file) == "0 prices changed, 3 are known already."
    assert AuditEvent.objects.filter(actor_label__contains="load_rates", object_type="rate").count() == 4


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("GCP,c5.large,1,2026-01-01,", "the provider is one of"),
        ("LOCAL,,1,2026-01-01,", "the instance type has 1 to 60 characters"),
        ("LOCAL,c5.large,cheap,2026-01-01,", "cheap is not a price in US dollars per hour"),
        ("LOCAL,c5.large,,2026-01-01,", "nothing is not a price"),
        ("LOCAL,c5.large,-1,2026-01-01,", "the price is from 0 to 100000"),
        ("LOCAL,c5.large,NaN,2026-01-01,", "the price is from 0 to 100000"),
        ("LOCAL,c5.large,0.0000001,2026-01-01,", "at most six decimal places"),
        ("LOCAL,c5.large,1,yesterday,", "yesterday is not a time like 2026-01-31"),
        ("LOCAL,c5.large,1,2026-02-30,", "2026-02-30 is not a time"),
        ("LOCAL,c5.large,1,9999-12-31T23:00-14:00,", "9999-12-31T23:00-14:00 is not a time"),
        ("LOCAL,c5.large,1,2026-01-02,2026-01-01", "it has to end after it begins"),
        (f"LOCAL,c5.large,9,{PAST:%Y-%m-%d},", "was charged"),
    ],
)
def test_one_wrong_line_is_named_and_nothing_is_loaded(file: Path, line: str, says: str) -> None:
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(CommandError, match="Nothing was loaded") as refusal:
        load(file)
    (told,) = str(refusal.value).splitlines()[1:]
    assert told.startswith("line 5: ")
    assert says in told
    assert not Rate.objects.exists()


def test_a_file_without_the_columns_or_without_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("type,price\n")
    with pytest.raises(CommandError, match="there is no provider, instance_type, hourly, valid_from"):
        load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="cannot be read"):
        load(path)
    with pytest.raises(CommandError, match="cannot be read"):
        load(tmp_path / "nowhere.csv")


# --- nothing starts that nobody could charge ------------------------------------------------------------------------


def new(workspace: Workspace, kind: str = "local.1x") -> Cluster:
    settings = {"name": "etl", "instance_type": kind, "instances": 1, "release": "2026.10"}
    return services.create_cluster(actor=actor(workspace.organization.members.get()), workspace=workspace, **settings)  # type: ignore[arg-type]


def test_a_type_without_a_price_is_not_started(workspace: Workspace, settings: Settings) -> None:
    settings.PORTAL_DEFAULT_HOURLY = None
    put("1", PAST, NOW - timedelta(days=1))
    put("1", SOON)
    before = AuditEvent.objects.count()
    with pytest.raises(UserError, match=r"There is no price for local\.1x on LOCAL") as refusal:
        new(workspace)
    assert refusal.value.code == "NoRate"
    assert (Cluster.objects.count(), AuditEvent.objects.count()) == (0, before)
    settings.PORTAL_DEFAULT_HOURLY = Decimal(1)
    assert new(workspace).status == "NEW"


def test_a_price_that_ended_stops_resuming_and_changing_to_its_type(workspace: Workspace, settings: Settings) -> None:
    settings.PORTAL_DEFAULT_HOURLY = None
    who = actor(workspace.organization.members.get())
    cluster = make_cluster(workspace, status="STOPPED", target="STOPPED")
    with pytest.raises(UserError, match="There is no price"):
        services.act(actor=who, cluster=cluster, action=services.ACTIONS["resume"])
    services.act(actor=who, cluster=cluster, action=services.ACTIONS["delete"])  # needs none
    other = make_cluster(workspace, status="STOPPED", target="STOPPED")
    with pytest.raises(UserError, match=r"There is no price for local\.2x"):
        services.update_cluster(actor=who, cluster=other, instance_type="local.2x")
    put("1", PAST)
    services.act(actor=who, cluster=other, action=services.ACTIONS["resume"])


def test_the_form_says_that_there_is_no_price(client: Client, workspace: Workspace, settings: Settings) -> None:
    settings.PORTAL_DEFAULT_HOURLY = None
    client.force_login(workspace.organization.members.get())
    form = {"name": "etl", "instance_type": "local.1x", "instances": "1", "release": "2026.10"}
    form |= {"auto_pause_minutes": "60", "auto_stop_minutes": "0"}
    response = client.post(reverse("clusters:new", args=[workspace.pk]), form)
    assert response.status_code in {409, 422}
    page = response.content.decode()
    assert "There is no price for local.1x on LOCAL" in page
    assert 'value="etl"' in page


# --- the operator's page --------------------------------------------------------------------------------------------


def test_staff_ends_a_price_at_a_time_to_come_only(client: Client) -> None:
    put("1", PAST)
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    where = reverse("admin:billing_rate_change", args=[Rate.objects.get().pk])
    for end, status in ((PAST + timedelta(days=1), 200), (SOON, 302)):
        form = {"valid_to_0": f"{end:%Y-%m-%d}", "valid_to_1": f"{end:%H:%M:%S}"}
        assert client.post(where, form).status_code == status
    assert stored() == [("1", PAST, SOON)]


def test_staff_adds_a_price_that_ends_the_one_before(client: Client) -> None:
    put("1", PAST)
    root = make_user("root", is_staff=True, is_superuser=True)
    client.force_login(root)
    form = {"provider": "LOCAL", "instance_type": "local.1x", "hourly": "2", "valid_to_0": "", "valid_to_1": ""}
    soon = {"valid_from_0": f"{SOON:%Y-%m-%d}", "valid_from_1": f"{SOON:%H:%M:%S}"}
    where = reverse("admin:billing_rate_add")
    assert client.post(where, {**form, **soon}).status_code == 302
    assert stored() == [("1", PAST, SOON), ("2", SOON, None)]
    event = AuditEvent.objects.filter(verb="rate.create").order_by("-number")[0]
    assert event.actor_user == root
    past = {"valid_from_0": "2026-01-01", "valid_from_1": "00:00:00"}
    past = {"valid_from_0": f"{PAST + timedelta(days=1):%Y-%m-%d}", "valid_from_1": "00:00:00"}
    refused = client.post(where, {**form, **past}, follow=True)
    assert "had a price already" in refused.content.decode()
    assert len(stored()) == 2
