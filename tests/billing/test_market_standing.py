"""Suspended organizations keep everything and start nothing; what runs is paused as announced."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import sandbox, services_marketplace
from accounts import services_subscriptions as subscriptions
from accounts.audit import SYSTEM
from accounts.models import AuditEvent, MarketplaceSubscription, Organization
from accounts.permissions import OrganizationRole, WorkspaceRole
from billing.marketplace import sending, work
from billing.models import MeterRecord
from clusters import services
from clusters.models import Cluster
from clusters.services import ACTIONS
from portal.clouds.base import Target
from portal.errors import UserError
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_cluster,
    make_organization,
    make_period,
    make_record,
    make_subscription,
    make_user,
    make_workspace,
)
from tests.fakes import Clock, FakeCloud, Workers
from tests.mailbox import delivered
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def organization() -> Organization:
    return make_organization(make_user("owner"))


@pytest.fixture
def workspace(organization: Organization) -> Workspace:
    return make_workspace(organization)


@pytest.fixture
def subscription(organization: Organization) -> MarketplaceSubscription:
    return make_subscription(organization)


def say(subscription: MarketplaceSubscription, name: str) -> None:
    """The sandbox says it, in AWS's part."""
    subscription.refresh_from_db()
    subscriptions.take_notification(
        actor=SYSTEM,
        body=sandbox.notification(subscription, name),
        message_id="",
        sent_at=subscription.created_at,
    )


def create(workspace: Workspace) -> Cluster:
    return services.create_cluster(
        actor=actor(), workspace=workspace, name="new", instance_type="local.1x", instances=1, release="2026.10"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("subscribe-fail", "payment for the subscription failed"),
        ("unsubscribe-pending", "was cancelled"),
        ("unsubscribe-success", "has ended"),
    ],
)
def test_nothing_can_be_started_and_the_refusal_says_why(
    workspace: Workspace, subscription: MarketplaceSubscription, name: str, words: str
) -> None:
    paused = make_cluster(workspace, status="PAUSED", target=Target.PAUSED)
    running = make_cluster(workspace)
    say(subscription, name)
    with pytest.raises(UserError, match="SubscriptionEnded") as refused:
        create(workspace)
    assert words in refused.value.message
    assert "Subscribe again" in refused.value.hint
    for launch in (
        lambda: services.act(actor=actor(), cluster=paused, action=ACTIONS["resume"]),
        lambda: services.scale_cluster(actor=actor(), cluster=running, instances=5),
    ):
        with pytest.raises(UserError, match="SubscriptionEnded"):
            launch()
    paused.refresh_from_db()
    assert paused.target == "PAUSED"
    services.act(actor=actor(), cluster=running, action=ACTIONS["delete"])  # less is always possible


def test_an_organization_without_a_subscription_is_nobody_s_business(workspace: Workspace) -> None:
    make_subscription(make_organization(), state="ENDED", suspended_at=workspace.created_at, active_since=None)
    assert create(workspace).pk


def test_subscribing_again_brings_launches_back(
    workspace: Workspace, subscription: MarketplaceSubscription, clock: Clock
) -> None:
    say(subscription, "unsubscribe-success")
    clock.move(minutes=1)
    say(subscription, "subscribe-success")
    assert create(workspace).pk


def test_another_subscription_brings_launches_back(
    organization: Organization, workspace: Workspace, subscription: MarketplaceSubscription
) -> None:
    say(subscription, "unsubscribe-success")
    services_marketplace.link(actor=actor(), subscription=make_subscription(), organization=organization)
    assert create(workspace).pk


def test_what_runs_is_paused_when_it_was_announced(
    workspace: Workspace, subscription: MarketplaceSubscription, clock: Clock
) -> None:
    clusters = [make_cluster(workspace), make_cluster(workspace, status="INPROGRESS", target=Target.RUNNING)]
    stranger = make_cluster(make_workspace(make_organization()))
    say(subscription, "subscribe-fail")
    (mail,) = delivered()
    clock.move(minutes=29)
    work.hours()
    assert not Cluster.objects.exclude(target="RUNNING").exists()
    clock.move(minutes=1)
    assert f"{clock():%Y-%m-%d %H:%M} UTC" in str(mail.body)
    work.hours()
    targets = [Cluster.objects.get(pk=cluster.pk).target for cluster in (*clusters, stranger)]
    assert targets == ["PAUSED", "RUNNING", "RUNNING"]
    Cluster.objects.filter(pk=clusters[1].pk).update(status="RUNNING")  # it was being deployed, and is there now
    work.hours()
    assert Cluster.objects.get(pk=clusters[1].pk).target == "PAUSED"
    labels = AuditEvent.objects.filter(verb="cluster.pause").values_list("actor_label", flat=True)
    assert list(labels) == ["Bodo Cloud Platform (subscription ended)"] * 2


def test_one_cluster_that_cannot_be_paused_keeps_no_other_running(
    workspace: Workspace, subscription: MarketplaceSubscription, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_cluster(workspace), make_cluster(workspace)
    say(subscription, "subscribe-fail")
    clock.move(minutes=31)
    real = services.act

    def act(**given: Any) -> Cluster:
        if given["cluster"] == first:
            raise RuntimeError("no cloud")
        return real(**given)

    monkeypatch.setattr("billing.marketplace.standing.act", act)
    work.hours()
    assert [Cluster.objects.get(pk=row.pk).target for row in (first, second)] == ["RUNNING", "PAUSED"]


def test_from_running_through_a_cancellation_to_the_last_record(
    organization: Organization,
    workspace: Workspace,
    subscription: MarketplaceSubscription,
    fake_cloud: FakeCloud,
    workers: Workers,
    clock: Clock,
) -> None:
    """The whole way, with the sandbox in AWS's part and real clusters of a fake cloud."""
    work.hours()
    cluster = workers.do(lambda: create(workspace))
    workers.work()
    cluster.refresh_from_db()
    assert cluster.status == "RUNNING"
    say(subscription, "unsubscribe-pending")
    clock.move(minutes=30)
    workers.do(work.hours)
    sending.send()
    workers.work()
    cluster.refresh_from_db()
    assert cluster.status == "PAUSED"
    subscription.refresh_from_db()
    assert subscription.state == "CANCELLING"
    rows = list(MeterRecord.objects.order_by("hour"))
    assert {row.state for row in rows} == {"ACCEPTED"}
    usage = organization.usage.get()
    assert usage.ended_at
    minutes = (usage.ended_at - usage.started_at + timedelta(seconds=30)) // timedelta(minutes=1)
    assert sum(row.quantity for row in rows) == int(minutes * usage.hourly * 100 / 60)
    clock.move(minutes=40)
    subscriptions.sweep()
    work.hours()
    subscription.refresh_from_db()
    assert (subscription.state, MeterRecord.objects.count()) == ("ENDED", len(rows))


# --- pages ----------------------------------------------------------------------------------------------------------


def signed_in(organization: Organization, role: OrganizationRole) -> Client:
    client, user = Client(), make_user(role.lower())
    add_to_organization(organization, user, role)
    client.force_login(user)
    return client


def test_every_page_of_a_suspended_organization_says_so(
    organization: Organization, workspace: Workspace, subscription: MarketplaceSubscription
) -> None:
    member = signed_in(organization, OrganizationRole.MEMBER)
    user = organization.members.get(memberships__role="MEMBER")
    add_to_workspace(workspace, user, WorkspaceRole.VIEWER)
    payer = signed_in(organization, OrganizationRole.BILLING)
    pages = [reverse("workspaces:list", args=[organization.pk]), reverse("clusters:list", args=[workspace.pk])]
    banner = "can start no cluster now"
    assert not any(banner in member.get(page).content.decode() for page in pages)
    say(subscription, "subscribe-fail")
    assert all(banner in member.get(page).content.decode() for page in pages)
    assert "Ask an owner" in member.get(pages[0]).content.decode()
    assert f"/o/{organization.pk}/billing/marketplace/" in payer.get(pages[0]).content.decode()
    say(subscription, "subscribe-success")
    assert not any(banner in member.get(page).content.decode() for page in pages)


def test_the_page_shows_the_state_and_what_was_reported(
    organization: Organization, subscription: MarketplaceSubscription
) -> None:
    client = signed_in(organization, OrganizationRole.BILLING)
    where = reverse("billing:marketplace", args=[organization.pk])
    page = client.get(where).content.decode()
    assert "No hour was reported yet" in page
    period = make_period(subscription=subscription)
    first = make_record(period, state="ACCEPTED", due_at=None, metering_record_id="aws-1", quantity=12)
    others: list[dict[str, Any]] = [
        {"state": "REFUSED", "due_at": None},
        {"state": "LOST", "due_at": None, "quantity": 0},
        {"attempts": 3},
    ]
    for number, fields in enumerate(others, 1):
        make_record(period, hour=first.hour + timedelta(hours=number), **fields)
    subscription.entitlements.create(dimension="seats", value="5", expires_at=first.hour)
    say(subscription, "unsubscribe-pending")
    page = client.get(where).content.decode()
    for words in (
        "Its subscription in AWS Marketplace was cancelled.",
        f"The last hour that AWS accepted is {first.hour.day} {first.hour:%B %Y, %H:%M} UTC.",
        "1 waits to be accepted",
        "1 was not accepted and is not charged",
        "aws-1",
        "3 tries",
        "Entitled to seats",
        "0.12",
    ):
        assert words in page, words
    other = signed_in(make_organization(), OrganizationRole.OWNER)
    assert other.get(where).status_code == 404


def test_without_a_subscription_the_page_says_what_one_would_be(organization: Organization) -> None:
    client = signed_in(organization, OrganizationRole.OWNER)
    page = client.get(reverse("billing:marketplace", args=[organization.pk])).content.decode()
    assert "Not subscribed through AWS Marketplace" in page


def test_the_page_asks_as_often_for_many_records_as_for_one(
    organization: Organization, subscription: MarketplaceSubscription, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = signed_in(organization, OrganizationRole.BILLING)
    period = make_period(subscription=subscription)
    for number in range(70):
        make_record(period, hour=period.frozen_until + timedelta(hours=number))
    where = reverse("billing:marketplace", args=[organization.pk])
    client.get(where)
    with django_assert_num_queries(10):
        page = client.get(where)
    assert page.content.decode().count("<tr>") == 51


# --- the sandbox ----------------------------------------------------------------------------------------------------


def test_the_sandbox_says_each_thing_by_a_button(organization: Organization, clock: Clock) -> None:
    client = signed_in(organization, OrganizationRole.BILLING)
    make_subscription(organization, product_code="sandbox-contract")
    make_subscription(make_organization())  # of others, nothing is shown
    page = client.get("/marketplace/sandbox/").content.decode()
    assert page.count('name="notification"') == len(sandbox.NOTIFICATIONS)
    where = reverse("accounts:marketplace_sandbox_send", args=[organization.pk])
    states = []
    for name in ("subscribe-fail", "subscribe-success", "unsubscribe-pending", "unsubscribe-success"):
        clock.move(seconds=1)
        response = client.post(where, {"notification": name}, follow=True)
        assert f"Sent {name}" in response.content.decode()
        states.append(MarketplaceSubscription.objects.get(organization=organization).state)
    assert states == ["FAILED", "ACTIVE", "CANCELLING", "ENDED"]
    assert client.post(where, {"notification": "nonsense"}).status_code == 422
    event = AuditEvent.objects.filter(verb="marketplace_subscription.change").order_by("-number")[0]
    assert event.actor_user == organization.members.get(memberships__role="BILLING")


def test_a_contract_of_the_sandbox_expires_and_is_renewed(organization: Organization, clock: Clock) -> None:
    from accounts import entitlements

    row = make_subscription(organization, product_code="sandbox-contract", active_since=clock() - timedelta(hours=5))
    states = []
    for name in ("entitlement-expired", "entitlement-updated"):
        clock.move(seconds=1)
        say(row, name)
        clock.move(seconds=1)
        assert entitlements.read_due() == 1
        row.refresh_from_db()
        states.append(row.state)
    assert states == ["EXPIRED", "ACTIVE"]


@pytest.mark.parametrize("mode", ["aws", "off"])
def test_elsewhere_the_sandbox_says_nothing(
    organization: Organization, subscription: MarketplaceSubscription, settings: Settings, mode: str
) -> None:
    settings.PORTAL_MARKETPLACE = mode
    client = signed_in(organization, OrganizationRole.OWNER)
    where = reverse("accounts:marketplace_sandbox_send", args=[organization.pk])
    assert client.post(where, {"notification": "subscribe-fail"}).status_code == 404
    subscription.refresh_from_db()
    assert subscription.state == "ACTIVE"


# --- the operator ---------------------------------------------------------------------------------------------------


def test_the_operator_has_a_refused_record_sent_again(
    subscription: MarketplaceSubscription, client: Client, clock: Clock
) -> None:
    period = make_period(subscription=subscription)
    row = make_record(period, state="REFUSED", due_at=None, closes_at=clock() + timedelta(hours=1))
    late = make_record(
        period, hour=row.hour + timedelta(hours=1), state="REFUSED", due_at=None, closes_at=clock() - timedelta(hours=1)
    )
    busy = make_record(
        period, hour=row.hour + timedelta(hours=2), due_at=clock() + timedelta(minutes=4), claim=subscription.pk
    )
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    for record in (row, late, busy):
        client.post(f"/admin/billing/meterrecord/{record.pk}/task/retry/")
    assert list(MeterRecord.objects.order_by("pk").values_list("state", flat=True)) == ["PENDING", "REFUSED", "PENDING"]
    busy.refresh_from_db()
    assert busy.due_at
    assert busy.due_at > clock()
    event = AuditEvent.objects.get(verb="meter_record.retry")
    assert (event.actor_kind, event.organization, event.object_id) == ("staff", period.organization, str(row.pk))
    assert sending.send() == 1
    row.refresh_from_db()
    assert row.state == "ACCEPTED"
