"""Handing records to AWS: each answer, each fault, and no hour counted twice. The server is the tests' own; AWS itself
is not asked."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from django.db import connection, transaction
from pytest_django import Settings

from accounts import marketplace
from billing.marketplace import aws, sending
from billing.models import MeterPeriod, MeterRecord, MeterState
from tests.billing.metering_server import Metering, metering_server
from tests.factories import make_organization, make_period, make_record, make_subscription
from tests.fakes import Clock, Killed
from tests.together import together

pytestmark = pytest.mark.django_db
HOUR = datetime(2026, 11, 15, 9, tzinfo=UTC)
LICENSE = "arn:aws:license-manager::123456789012:license:l-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Metering]:
    real = Config

    def impatient(**options: object) -> Config:
        """The timeouts are seconds; nobody waits for them here."""
        return real(**{**options, "connect_timeout": 0.5, "read_timeout": 0.5})

    with metering_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_MARKETPLACE_METERING", server.address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setattr("botocore.config.Config", impatient)
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        marketplace.client.cache_clear()
        yield server
    marketplace.client.cache_clear()


@pytest.fixture
def metering(server: Metering, settings: Settings, clock: Clock) -> Metering:
    settings.PORTAL_MARKETPLACE = "aws"
    settings.PORTAL_MARKETPLACE_PRODUCT_CODES = ["prod-1", "prod-2"]
    clock.at = HOUR + timedelta(minutes=62)
    server.forget()
    return server


def customer(**fields: Any) -> MeterPeriod:
    values = {"product_code": "prod-1", "sandbox": False, "linked_at": HOUR, "active_since": HOUR, **fields}
    return make_period(subscription=make_subscription(make_organization(), **values))


def hours(period: MeterPeriod, count: int = 1, **fields: Any) -> list[MeterRecord]:
    first = fields.pop("hour", HOUR)
    return [
        make_record(
            period, **{"hour": first + timedelta(hours=number), "quantity": 10 + number, "due_at": HOUR, **fields}
        )
        for number in range(count)
    ]


def states() -> list[str]:
    return list(MeterRecord.objects.order_by("pk").values_list("state", flat=True))


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_a_record_is_sent_and_what_aws_calls_it_is_kept(metering: Metering, clock: Clock) -> None:
    (row,) = hours(customer(license_arn=LICENSE))
    assert sending.send() == 1
    assert metering.calls == [
        {
            "UsageRecords": [
                {
                    "Timestamp": HOUR.timestamp(),
                    "Dimension": "usd_cents",
                    "QuantityAsDecimal": "10",
                    "CustomerAWSAccountId": row.account_id,
                    "LicenseArn": LICENSE,
                }
            ]
        }
    ]
    row.refresh_from_db()
    assert (row.state, row.answered_at, row.due_at, row.claim, row.attempts) == ("ACCEPTED", clock(), None, None, 1)
    assert row.metering_record_id.startswith("usd_cents-")
    assert sending.send() == 0
    assert len(metering.calls) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"account_id": "123456789012"}, {"CustomerAWSAccountId": "123456789012"}),
        ({"account_id": "", "customer_identifier": "c1"}, {"CustomerIdentifier": "c1"}),
    ],
)
def test_older_products_are_named_with_the_product(
    metering: Metering, fields: dict[str, str], named: dict[str, str]
) -> None:
    hours(customer(**fields))
    sending.send()
    (call,) = metering.calls
    assert call["ProductCode"] == "prod-1"
    (sent,) = call["UsageRecords"]
    assert {name: sent[name] for name in sent if name not in {"Timestamp", "Dimension", "QuantityAsDecimal"}} == named
    assert states() == ["ACCEPTED"]


def test_what_a_record_says_stays_when_the_subscription_learns_more(metering: Metering, clock: Clock) -> None:
    """Sent again with its licence, AWS would charge the hour again."""
    period = customer()
    hours(period)
    metering.fault, metering.faults = "lost", 2
    sending.send()
    period.subscription.license_arn = LICENSE
    period.subscription.save(update_fields=["license_arn"])
    clock.move(minutes=10)
    sending.send()
    assert states() == ["ACCEPTED"]
    assert metering.calls[0] == metering.calls[-1]
    assert metering.quantities() == [10]


def test_a_call_has_25_records_of_one_product(metering: Metering) -> None:
    for _ in range(30):
        hours(customer())
    for number in range(30):
        hours(customer(license_arn=f"{LICENSE}{number:04}"))
    hours(customer(product_code="prod-2"))
    assert sending.send() == 61
    assert sorted(len(call["UsageRecords"]) for call in metering.calls) == [1, 5, 5, 25, 25]
    assert set(states()) == {"ACCEPTED"}


def test_what_was_used_until_a_cancellation_goes_first(metering: Metering) -> None:
    for _ in range(40):
        hours(customer())
    last = customer()
    hours(last)
    MeterPeriod.objects.filter(pk=last.pk).update(ended_at=HOUR + timedelta(minutes=30), settled=True)
    sending.send()
    assert last.subscription.account_id in {row["CustomerAWSAccountId"] for row in metering.calls[0]["UsageRecords"]}


# --- what comes back ------------------------------------------------------------------------------------------------


def test_each_status_is_kept_for_its_record(metering: Metering, caplog: pytest.LogCaptureFixture) -> None:
    fine, gone, other = (hours(customer(license_arn=f"{LICENSE}{number}"))[0] for number in range(3))
    metering.not_subscribed = lambda record: record["LicenseArn"] == gone.license_arn
    metering.taken[other.license_arn, "usd_cents", str(int(HOUR.timestamp()) // 3600)] = "7"
    assert sending.send() == 3
    assert states() == ["ACCEPTED", "REFUSED", "DUPLICATE"]
    assert "the customer is not subscribed" in caplog.text
    assert "has another quantity" in caplog.text
    assert sending.send() == 0
    assert len(metering.calls) == 1
    assert fine.pk


def test_what_was_not_processed_is_sent_again_with_pauses(metering: Metering, clock: Clock) -> None:
    slow, quick = (hours(customer(license_arn=f"{LICENSE}{number}"))[0] for number in range(2))
    metering.unprocessed = lambda record: record["LicenseArn"] == slow.license_arn
    sending.send()
    assert states() == ["PENDING", "ACCEPTED"]
    pauses = []
    for _ in range(6):
        slow.refresh_from_db()
        assert slow.due_at
        pauses.append((slow.due_at - clock()).total_seconds())
        assert sending.send() == 0
        clock.at = slow.due_at
        sending.send()
    assert pauses == [15, 30, 60, 120, 240, 300]
    assert slow.error == "AWS did not process it"
    metering.unprocessed = lambda _: False
    clock.move(minutes=5)
    sending.send()
    assert states() == ["ACCEPTED"] * 2
    assert [len(call["UsageRecords"]) for call in metering.calls] == [2, *[1] * 7]
    assert quick.pk


@pytest.mark.parametrize("fault", ["throttle", "broken", "hang", "lost", "nonsense", "silent", "alien"])
def test_after_each_fault_it_is_sent_again_and_counts_once(metering: Metering, clock: Clock, fault: str) -> None:
    rows = [hours(customer(license_arn=f"{LICENSE}{number}"))[0] for number in range(3)]
    metering.fault, metering.faults = fault, 2  # botocore tries once more by itself
    for _ in range(4):
        sending.send()
        sending.send()
        clock.move(minutes=1)
    assert states() == ["ACCEPTED"] * len(rows)
    assert metering.quantities() == [10, 10, 10]
    assert {str(call) for call in metering.calls} == {str(metering.calls[0])}  # the same, whenever


def test_an_answer_that_comes_twice_is_one(metering: Metering) -> None:
    hours(customer())
    metering.fault = "twice"
    assert sending.send() == 1
    assert states() == ["ACCEPTED"]


@pytest.mark.parametrize(
    "code", ["InvalidUsageDimensionException", "InvalidLicenseException", "TimestampOutOfBoundsException"]
)
@pytest.mark.parametrize("bad", [{0}, {11}, {24}, {3, 4, 20}, set(range(25))])
def test_a_record_that_spoils_its_call_is_found(
    metering: Metering, clock: Clock, caplog: pytest.LogCaptureFixture, code: str, bad: set[int]
) -> None:
    rows = [hours(customer(license_arn=f"{LICENSE}{number:02}"))[0] for number in range(25)]
    spoilt = {rows[number].license_arn for number in bad}
    metering.poison = lambda record: code if record["LicenseArn"] in spoilt else ""
    sending.send()
    assert [number for number, state in enumerate(states()) if state == "PENDING"] == sorted(bad)
    assert len(metering.calls) <= 49
    assert caplog.text.count("does not take") == len(bad)
    assert all(code in row.error for row in MeterRecord.objects.filter(state="PENDING"))
    metering.poison = lambda _: ""  # the operator has mended it
    clock.move(minutes=1)
    sending.send()
    assert set(states()) == {"ACCEPTED"}


@pytest.mark.parametrize("code", ["AccessDeniedException", "DisabledApiException", "InvalidProductCodeException"])
def test_what_is_refused_for_no_record_s_sake_is_not_sent_in_parts(
    metering: Metering, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    for number in range(4):
        hours(customer(license_arn=f"{LICENSE}{number}"))
    metering.fault = code
    sending.send()
    assert len(metering.calls) == 1
    assert states() == ["PENDING"] * 4
    assert code in caplog.text


def test_without_credentials_it_waits(
    metering: Metering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    marketplace.client.cache_clear()
    hours(customer())
    sending.send()
    marketplace.client.cache_clear()
    assert states() == ["PENDING"]
    assert "cannot be asked" in caplog.text


# --- the window -----------------------------------------------------------------------------------------------------


def test_what_aws_takes_no_more_is_lost_and_said_to_be(
    metering: Metering, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    hours(customer(), 3, closes_at=HOUR + timedelta(hours=24))
    MeterRecord.objects.filter(quantity=12).update(quantity=0)
    clock.at = HOUR + timedelta(hours=24)
    assert sending.send() == 0
    assert states() == ["LOST"] * 3
    assert metering.calls == []
    assert caplog.text.count("was not reported in time") == 2  # of nothing, nothing is lost
    assert "0.10 US dollars" in caplog.text


def test_until_the_last_minute_it_is_tried(metering: Metering, clock: Clock) -> None:
    hours(customer())
    metering.fault = "throttle"
    clock.at = HOUR + timedelta(hours=23, minutes=59)
    sending.send()
    clock.move(seconds=30)
    metering.fault = ""
    sending.send()
    assert states() == ["ACCEPTED"]


def test_what_is_under_way_is_not_lost(metering: Metering, clock: Clock) -> None:
    hours(customer(), due_at=HOUR + timedelta(hours=24, minutes=3))
    clock.at = HOUR + timedelta(hours=24, minutes=1)
    sending.send()
    assert states() == ["PENDING"]


# --- crashes, and two at once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["_claimed", "aws.report", "_answered"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_step_an_hour_counts_once(
    metering: Metering, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: str, after: bool
) -> None:
    hours(customer(license_arn=LICENSE), 3, hour=HOUR - timedelta(hours=3))
    module, name = (aws, "report") if place == "aws.report" else (sending, place)
    real = getattr(module, name)

    def die(*given: Any) -> None:
        if after:
            real(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        with pytest.raises(Killed):
            sending.send()
    clock.move(minutes=6)
    sending.send()
    assert states() == ["ACCEPTED"] * 3
    assert metering.quantities() == [10, 11, 12]


def test_an_answer_is_only_written_by_who_asked(metering: Metering, clock: Clock) -> None:
    """A scheduler that was stopped for minutes in the middle of its call comes back after another one's."""
    (row,) = hours(customer())
    first = uuid.uuid4()
    claimed = sending._claimed(first)
    clock.move(minutes=6)
    sending.send()
    assert states() == ["ACCEPTED"]
    late = aws.Answer(MeterState.PENDING, error="AWS did not answer")
    assert sending._answered(first, claimed, {row.pk: late}) == 0
    assert states() == ["ACCEPTED"]
    row.refresh_from_db()
    assert row.error == ""


@pytest.mark.django_db(transaction=True)
def test_two_schedulers_never_send_the_same_record_at_the_same_time(metering: Metering) -> None:
    for number in range(60):
        hours(customer(license_arn=f"{LICENSE}{number:02}"))
    results = together(*[sending.send] * 4)
    assert sum(int(str(result)) for result in results) == 60
    sent = [record["LicenseArn"] for call in metering.calls for record in call["UsageRecords"]]
    assert len(sent) == len(set(sent)) == 60
    assert set(states()) == {"ACCEPTED"}


@pytest.mark.django_db(transaction=True)
def test_a_record_that_is_being_claimed_is_left_alone(metering: Metering) -> None:
    hours(customer())
    found: list[list[MeterRecord]] = []

    def claim() -> None:
        try:
            found.append(sending._claimed(uuid.uuid4()))
        finally:
            connection.close()

    other = threading.Thread(target=claim)
    with transaction.atomic():
        assert len(sending._claimed(uuid.uuid4())) == 1
        other.start()
        other.join(5)  # where it waits for this transaction, it takes the record after it
    other.join()
    assert found == [[]]


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_aws_is_asked(metering: Metering) -> None:
    (row,) = hours(customer())
    metering.fault = "wait"

    def send() -> None:
        try:
            sending.send()
        finally:
            connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert metering.entered.wait(20)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND state LIKE 'idle in transaction%'"
            )
            assert cursor.fetchone() == (0,)
            cursor.execute(
                "SET lock_timeout = '1s'; UPDATE billing_meterrecord SET error = 'x' WHERE id = %s", [row.pk]
            )
    finally:
        metering.go_on.set()
        thread.join()


# --- the sandbox ----------------------------------------------------------------------------------------------------


def test_the_sandbox_takes_everything_and_aws_hears_of_none_of_it(metering: Metering, settings: Settings) -> None:
    (row,) = hours(customer(sandbox=True, product_code="sandbox-product"))
    assert sending.send() == 0
    settings.PORTAL_MARKETPLACE = "sandbox"
    assert sending.send() == 1
    row.refresh_from_db()
    assert (row.state, row.metering_record_id) == ("ACCEPTED", f"sandbox-{row.pk}")
    settings.PORTAL_MARKETPLACE = "off"
    hours(customer())
    assert sending.send() == 0
    assert metering.calls == []
