"""Reading the queue of notifications: a real SQS protocol over HTTP, played by moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.db import DatabaseError
from pytest_django import Settings

from accounts import marketplace, marketplace_queue
from accounts import services_subscriptions as subscriptions
from accounts.models import AuditEvent, MarketplaceNotification, MarketplaceSubscription
from tests.accounts.test_subscriptions import sns
from tests.factories import make_organization, make_subscription, make_user
from tests.fakes import Killed

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_SQS", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        marketplace.client.cache_clear()
        yield boto3.client("sqs", region_name="us-east-1")
    marketplace.client.cache_clear()
    server.stop()


@pytest.fixture
def queue(sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(marketplace_queue, "WAIT_SECONDS", 0)
    settings.PORTAL_MARKETPLACE = "aws"
    settings.PORTAL_MARKETPLACE_PRODUCT_CODES = ["prod-1"]
    address = sqs.create_queue(QueueName="marketplace", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    settings.PORTAL_MARKETPLACE_QUEUE_URL = address
    yield address
    sqs.delete_queue(QueueUrl=address)


@pytest.fixture
def subscription() -> MarketplaceSubscription:
    return make_subscription(make_organization(make_user()), product_code="prod-1", sandbox=False)


def put(sqs: Any, queue: str, *bodies: str) -> None:
    for body in bodies:
        sqs.send_message(QueueUrl=queue, MessageBody=body)


def left(sqs: Any, queue: str) -> int:
    return int(
        sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"]
    )


def test_messages_are_applied_and_deleted(sqs: Any, queue: str, subscription: MarketplaceSubscription) -> None:
    put(sqs, queue, sns("subscribe-success", subscription), "nonsense", *[sns("subscribe-fail")] * 12)
    assert marketplace_queue.read() == 14
    put(sqs, queue, sns("unsubscribe-pending", subscription))
    assert marketplace_queue.read() == 1
    assert left(sqs, queue) == 0
    subscription.refresh_from_db()
    assert subscription.state == "CANCELLING"
    outcomes = MarketplaceNotification.objects.order_by("pk").values_list("outcome", flat=True)
    assert sorted(outcomes) == ["APPLIED", "APPLIED", "IGNORED", "UNREADABLE"]
    assert AuditEvent.objects.get(verb="marketplace_subscription.change").actor_label.endswith("(AWS Marketplace)")


def test_the_time_in_the_queue_counts_where_a_message_has_none(
    sqs: Any, queue: str, subscription: MarketplaceSubscription
) -> None:
    put(
        sqs,
        queue,
        f'{{"action": "subscribe-fail", "customer-identifier": "{subscription.customer}", "product-code": "prod-1"}}',
    )
    marketplace_queue.read()
    row = MarketplaceNotification.objects.get()
    assert abs((row.received_at - row.sent_at).total_seconds()) < 60


def test_killed_between_commit_and_deletion_it_comes_again_and_changes_nothing(
    sqs: Any, queue: str, subscription: MarketplaceSubscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sqs, queue, sns("subscribe-fail", subscription))
    real = marketplace.client("sqs", "us-east-1", 10)

    class Dying:
        receive_message = real.receive_message

        def delete_message(self, **_: Any) -> None:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(marketplace_queue, "client", lambda *_: Dying())
        with pytest.raises(Killed):
            marketplace_queue.read()
    assert left(sqs, queue) == 1
    assert marketplace_queue.read() == 1
    assert left(sqs, queue) == 0
    assert MarketplaceNotification.objects.count() == 1
    assert AuditEvent.objects.filter(verb="marketplace_subscription.change").count() == 1


def test_killed_before_the_commit_nothing_is_lost(
    sqs: Any, queue: str, subscription: MarketplaceSubscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sqs, queue, sns("subscribe-fail", subscription))

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    for place in ("audit.record", "_tell", "settle_organization"):
        with monkeypatch.context() as patch:
            patch.setattr(f"accounts.services_subscriptions.{place}", die)
            with pytest.raises(Killed):
                marketplace_queue.read()
        subscription.refresh_from_db()
        assert (subscription.state, MarketplaceNotification.objects.count()) == ("ACTIVE", 0)
        assert left(sqs, queue) == 1
    marketplace_queue.read()
    subscription.refresh_from_db()
    assert subscription.state == "FAILED"


def test_one_that_fails_comes_again_and_holds_nothing_up(
    sqs: Any,
    queue: str,
    subscription: MarketplaceSubscription,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(marketplace_queue, "ROUNDS", 3)
    put(sqs, queue, "broken", sns("subscribe-fail", subscription))
    real = subscriptions.take_notification

    def stumble(**given: Any) -> MarketplaceNotification:
        if given["body"] == "broken":
            raise DatabaseError("no room")
        return real(**given)

    monkeypatch.setattr(marketplace_queue, "take_notification", stumble)
    assert marketplace_queue.read() == 1
    assert left(sqs, queue) == 1
    assert "it comes again" in caplog.text
    subscription.refresh_from_db()
    assert subscription.state == "FAILED"


@pytest.mark.parametrize(("mode", "address"), [("sandbox", "http://127.0.0.1:9/q"), ("aws", "")])
def test_without_a_queue_nobody_is_asked(settings: Settings, mode: str, address: str) -> None:
    settings.PORTAL_MARKETPLACE, settings.PORTAL_MARKETPLACE_QUEUE_URL = mode, address
    assert marketplace_queue.read() == 0


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/marketplace", "eu-west-1"),
        ("http://127.0.0.1:5000/123456789012/marketplace", "us-east-1"),
    ],
)
def test_the_region_is_the_queue_s_own(address: str, region: str) -> None:
    assert marketplace_queue._region(address) == region
