"""What AWS Marketplace says of a subscription, and what follows: states, letters, the audit log, the organization."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import sandbox, services_marketplace
from accounts import services_subscriptions as subscriptions
from accounts.audit import SYSTEM
from accounts.marketplace import Purchase
from accounts.models import (
    AuditEvent,
    MarketplaceNotification,
    MarketplaceSubscription,
    Organization,
    SubscriptionState,
)
from accounts.permissions import OrganizationRole
from portal.errors import UserError
from tests.factories import (
    actor,
    add_to_organization,
    make_organization,
    make_subscription,
    make_user,
)
from tests.fakes import Clock
from tests.mailbox import delivered
from tests.together import together

pytestmark = pytest.mark.django_db
LICENSE = "arn:aws:license-manager::123456789012:license:l-0123456789abcdef"


@pytest.fixture
def organization() -> Organization:
    return make_organization(make_user("owner"))


@pytest.fixture
def subscription(organization: Organization) -> MarketplaceSubscription:
    return make_subscription(organization)


def sns(action: str, of: MarketplaceSubscription | None = None, at: datetime | None = None, **fields: Any) -> str:
    """As SNS puts it into a queue."""
    said = {
        "action": action,
        "customer-identifier": of.customer if of else "nobody-yet",
        "product-code": of.product_code if of else "sandbox-product",
        **fields.pop("said", {}),
    }
    at = at or timezone.now()
    envelope = {"Type": "Notification", "MessageId": f"m-{action}-{at.timestamp()}", "Message": json.dumps(said)}
    return json.dumps({**envelope, "Timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **fields})


def event(kind: str, of: MarketplaceSubscription, at: datetime | None = None, **detail: Any) -> str:
    """As EventBridge puts it into a queue."""
    said = {
        "product": {"code": of.product_code, "id": "prod-1"},
        "license": {"arn": of.license_arn.removeprefix("arn:")},  # as AWS's own example has it
        "acceptor": {"accountId": of.account_id},
        "agreement": {"id": "agmt-1"},
        **detail,
    }
    at = (at or timezone.now()).astimezone(UTC)
    return json.dumps(
        {
            "id": f"e-{kind}-{at.timestamp()}",
            "detail-type": kind,
            "source": "aws.agreement-marketplace",
            "time": at.isoformat(),
            "detail": said,
        }
    )


def take(body: str, message_id: str = "queue-1") -> MarketplaceNotification:
    return subscriptions.take_notification(
        actor=SYSTEM, body=body, message_id=message_id, sent_at=timezone.now() - timedelta(seconds=1)
    )


def state_of(subscription: MarketplaceSubscription) -> str:
    subscription.refresh_from_db()
    return subscription.state


def suspended(organization: Organization) -> bool:
    organization.refresh_from_db()
    return organization.suspended_at is not None


# --- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("subscribe-success", "ACTIVE"),
        ("subscribe-fail", "FAILED"),
        ("unsubscribe-pending", "CANCELLING"),
        ("unsubscribe-success", "ENDED"),
    ],
)
def test_each_notification_has_its_state(
    subscription: MarketplaceSubscription, organization: Organization, action: str, state: str
) -> None:
    row = take(sns(action, subscription))
    assert (row.outcome, row.subscription, row.action) == ("APPLIED", subscription, action)
    assert state_of(subscription) == state
    assert subscription.notified_at == row.sent_at
    assert suspended(organization) == (state != "ACTIVE")
    assert subscription.organization == organization
    events = AuditEvent.objects.filter(verb="marketplace_subscription.change")
    assert [row.detail["after"] for row in events] == ([] if state == "ACTIVE" else [{"state": state}])


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("License Updated - Manufacturer", "ACTIVE"),
        ("License Deprovisioned - Manufacturer", "CANCELLING"),
        ("Purchase Agreement Ended - Proposer", "ACTIVE"),  # one that is renewed ends, too
        ("Purchase Agreement Created - Proposer", "ACTIVE"),
    ],
)
def test_events_of_new_products_say_the_same(organization: Organization, kind: str, state: str) -> None:
    subscription = make_subscription(organization, license_arn=LICENSE)
    row = take(event(kind, subscription))
    assert row.outcome == ("APPLIED" if kind.startswith("License") else "IGNORED")
    assert state_of(subscription) == state


def test_of_two_licences_of_one_customer_the_right_one_ends(organization: Organization) -> None:
    first = make_subscription(organization, license_arn=LICENSE)
    other = make_subscription(
        make_organization(), license_arn=f"{LICENSE}00", customer=first.customer, account_id=first.account_id
    )
    take(event("License Deprovisioned - Manufacturer", first))
    assert (state_of(first), state_of(other)) == ("CANCELLING", "ACTIVE")


def test_the_same_message_again_changes_nothing(
    subscription: MarketplaceSubscription, organization: Organization, clock: Clock
) -> None:
    body = sns("subscribe-fail", subscription)
    first = take(body)
    clock.move(seconds=5)
    take(sns("subscribe-success", subscription))
    assert state_of(subscription) == "ACTIVE"
    assert take(body, "another name in the queue") == first
    assert state_of(subscription) == "ACTIVE"
    assert not suspended(organization)
    assert MarketplaceNotification.objects.filter(action="subscribe-fail").count() == 1


def test_what_arrives_late_does_not_undo_what_came_after_it(
    subscription: MarketplaceSubscription, clock: Clock
) -> None:
    early = sns("unsubscribe-success", subscription)
    clock.move(minutes=3)
    take(sns("subscribe-success", subscription))
    assert take(early).outcome == "LATE"
    assert state_of(subscription) == "ACTIVE"


def test_a_clock_that_runs_ahead_blocks_nothing(subscription: MarketplaceSubscription, clock: Clock) -> None:
    take(sns("subscribe-success", subscription, timezone.now() + timedelta(days=400)))
    clock.move(minutes=1)
    assert take(sns("unsubscribe-pending", subscription)).outcome == "APPLIED"
    assert state_of(subscription) == "CANCELLING"


def test_an_hour_after_a_cancellation_it_is_over_without_a_message(
    subscription: MarketplaceSubscription, clock: Clock
) -> None:
    take(sns("unsubscribe-pending", subscription))
    clock.move(minutes=59)
    subscriptions.sweep()
    assert state_of(subscription) == "CANCELLING"
    clock.move(minutes=2)
    subscriptions.sweep()
    assert state_of(subscription) == "ENDED"
    take(sns("unsubscribe-pending", subscription))
    assert state_of(subscription) == "ENDED"


def test_subscribing_again_brings_it_back(
    subscription: MarketplaceSubscription, organization: Organization, clock: Clock
) -> None:
    take(sns("unsubscribe-success", subscription))
    assert suspended(organization)
    clock.move(hours=5)
    take(sns("subscribe-success", subscription))
    assert (state_of(subscription), subscription.active_since) == ("ACTIVE", clock())
    assert not suspended(organization)
    assert [mail.subject for mail in delivered()] == [
        f"{organization} can start nothing new",
        f"{organization} can start clusters again",
    ]


def test_subscribing_by_a_new_licence_brings_it_back(organization: Organization) -> None:
    old = make_subscription(organization, license_arn=LICENSE)
    take(event("License Deprovisioned - Manufacturer", old))
    assert suspended(organization)
    new = make_subscription(license_arn=f"{LICENSE}00")
    services_marketplace.link(actor=actor(), subscription=new, organization=organization)
    assert not suspended(organization)
    assert MarketplaceSubscription.objects.in_organization(organization)[0] == new
    # what is said of the old one is nothing to the organization any more
    take(event("License Updated - Manufacturer", old))
    assert (state_of(old), old.organization, suspended(organization)) == ("PENDING", None, False)


# --- before there is a customer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "state"),
    [
        (["subscribe-success"], "ACTIVE"),
        (["subscribe-fail"], "FAILED"),
        (["subscribe-success", "unsubscribe-success"], "ENDED"),
        (["unsubscribe-success", "subscribe-success"], "ACTIVE"),
    ],
)
def test_what_comes_before_the_registration_is_kept_for_it(
    organization: Organization, clock: Clock, actions: list[str], state: str
) -> None:
    account = "123456789012"
    purchase = Purchase("sandbox-product", account)
    stub = MarketplaceSubscription(customer=account, product_code="sandbox-product")
    bodies = []
    for action in actions:
        clock.move(seconds=10)
        bodies.append(sns(action, stub))
    clock.move(seconds=10)
    assert [take(body).outcome for body in reversed(bodies)] == ["WAITING"] * len(actions)
    arrival = services_marketplace.register(actor=actor(), token=sandbox.token_for(purchase))
    subscriptions.sweep()
    assert not MarketplaceNotification.objects.filter(outcome="WAITING").exists()
    services_marketplace.link(actor=actor(), subscription=arrival.registration.subscription, organization=organization)
    assert MarketplaceSubscription.objects.get().state == state
    assert suspended(organization) == (state != "ACTIVE")


def test_a_notification_for_nobody_waits_and_holds_nothing_up(subscription: MarketplaceSubscription) -> None:
    assert take(sns("subscribe-fail")).outcome == "WAITING"
    subscriptions.sweep()
    assert MarketplaceNotification.objects.get().outcome == "WAITING"
    assert take(sns("subscribe-fail", subscription)).outcome == "APPLIED"


def test_a_real_customer_s_message_does_not_reach_the_sandbox(
    subscription: MarketplaceSubscription, settings: Settings
) -> None:
    settings.PORTAL_MARKETPLACE, settings.PORTAL_MARKETPLACE_PRODUCT_CODES = "aws", ["sandbox-product"]
    assert take(sns("subscribe-fail", subscription)).outcome == "WAITING"
    assert state_of(subscription) == "ACTIVE"


# --- what makes no sense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"Message": "nonsense"}',
        '{"Message": "[1]"}',
        '{"Message": {}, "MessageId": "x"}',
        '{"action": "subscribe-fail"}',
        '{"action": "subscribe-fail", "customer-identifier": "c", "product-code": 7}',
        '{"action": "subscribe-fail", "customer-identifier": "\\ud800", "product-code": "p"}',
        '{"action": "subscribe-fail", "customer-identifier": "\\u0000", "product-code": "p"}',
        '{"action": "subscribe-fail", "customer-identifier": "' + "x" * 300 + '", "product-code": "p"}',
        '{"detail-type": "License Updated - Manufacturer", "source": "aws.agreement-marketplace"}',
        '{"detail-type": "License Updated - Manufacturer", "source": "aws.agreement-marketplace", "detail": []}',
        '{"detail-type": "License Updated - Manufacturer", "source": "aws.agreement-marketplace", "detail": {}}',
        "\x00\ud800",
        "[" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_nonsense_is_kept_and_reported(body: str, caplog: pytest.LogCaptureFixture) -> None:
    row = take(body)
    assert row.outcome == "UNREADABLE"
    assert row.remark
    assert "makes no sense" in caplog.text
    assert take(body) == row
    assert MarketplaceNotification.objects.count() == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"action": "something-new", "customer-identifier": "c", "product-code": "sandbox-product"}',
        '{"action": "subscribe-fail", "customer-identifier": "c", "product-code": "of-somebody-else"}',
        '{"detail-type": "License Updated - Manufacturer", "source": "somebody"}',
        '{"detail-type": "Offer Released", "source": "aws.marketplacecatalog", "detail": {}}',
    ],
)
def test_what_is_not_ours_is_kept_and_ignored(body: str) -> None:
    assert take(body).outcome == "IGNORED"


def test_older_spellings_and_blanks_are_read(subscription: MarketplaceSubscription) -> None:
    said = {"action": "subscribe-fail", "CustomerIdentifier": f" {subscription.customer}"}
    said["ProductCode"] = subscription.product_code
    assert take(json.dumps(said)).outcome == "APPLIED"  # and without an envelope
    assert state_of(subscription) == "FAILED"


# --- letters --------------------------------------------------------------------------------------------------------


def test_owners_and_billing_are_told_once_and_nobody_else(
    organization: Organization, subscription: MarketplaceSubscription, clock: Clock
) -> None:
    people = {role: make_user(role.lower()) for role in ("ADMIN", "BILLING", "MEMBER")}
    for role, person in people.items():
        add_to_organization(organization, person, OrganizationRole(role))
    take(sns("unsubscribe-pending", subscription))
    clock.move(minutes=61)
    take(sns("unsubscribe-success", subscription))
    owner = organization.memberships.get(role="OWNER").user
    told = delivered()
    assert sorted(mail.to[0] for mail in told) == sorted([people["BILLING"].email, owner.email])
    pause = subscription.suspended_at
    subscription.refresh_from_db()
    assert subscription.suspended_at
    pause = subscription.suspended_at + timedelta(minutes=30)
    for mail in told:
        assert f"{pause:%Y-%m-%d %H:%M} UTC" in str(mail.body)
        assert f"/o/{organization.pk}/billing/marketplace/" in str(mail.body)


def test_a_late_notification_leaves_time_for_the_last_records(
    subscription: MarketplaceSubscription, clock: Clock
) -> None:
    sent = clock()
    clock.move(minutes=40)
    take(sns("unsubscribe-pending", subscription, sent))
    subscription.refresh_from_db()
    assert subscription.pauses_at == sent + timedelta(minutes=45)


# --- the operator ---------------------------------------------------------------------------------------------------


def test_the_operator_lets_an_organization_go(
    organization: Organization, subscription: MarketplaceSubscription, client: Client
) -> None:
    take(sns("unsubscribe-success", subscription))
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    where = f"/admin/accounts/marketplacesubscription/{subscription.pk}/task/release/"
    assert client.get(where).status_code == 200
    assert client.post(where).status_code == 302
    assert not suspended(organization)
    assert (state_of(subscription), subscription.organization) == ("ENDED", None)
    event = AuditEvent.objects.get(verb="marketplace_subscription.release")
    assert (event.actor_kind, event.organization) == ("staff", organization)


def test_one_that_is_linked_beside_an_active_one_is_refused(
    organization: Organization, subscription: MarketplaceSubscription
) -> None:
    other = make_subscription(state=SubscriptionState.FAILED, suspended_at=timezone.now())
    with pytest.raises(UserError, match="already has a subscription"):
        services_marketplace.link(actor=actor(), subscription=other, organization=organization)
    assert not suspended(organization)


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_one_message_read_by_two_schedulers_is_applied_once() -> None:
    subscription = make_subscription(make_organization(make_user()))
    body = sns("subscribe-fail", subscription)
    results = together(*[lambda: take(body)] * 4)
    assert {getattr(row, "pk", row) for row in results} == {MarketplaceNotification.objects.get().pk}
    assert AuditEvent.objects.filter(verb="marketplace_subscription.change").count() == 1


@pytest.mark.django_db(transaction=True)
def test_opposite_messages_and_a_link_at_once_end_in_one_truth() -> None:
    organization = make_organization(make_user())
    old, new = make_subscription(organization), make_subscription()
    bodies = [sns("subscribe-fail", old), sns("subscribe-success", old, timezone.now() + timedelta(milliseconds=5))]

    def link() -> None:
        services_marketplace.link(actor=SYSTEM, subscription=new, organization=organization)

    results = together(*(lambda body=body: take(body) for body in bodies), link, subscriptions.sweep)
    assert all(isinstance(result, MarketplaceNotification | UserError | None) for result in results), results
    current = MarketplaceSubscription.objects.in_organization(organization)[0]
    organization.refresh_from_db()
    assert organization.suspended_at == current.suspended_at
