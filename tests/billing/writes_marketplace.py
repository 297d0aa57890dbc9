"""Each write about AWS Marketplace as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts import sandbox
from accounts import services_subscriptions as subscriptions
from accounts.models import MarketplaceNotification
from billing.services_marketplace import retry_record
from tests.factories import make_period, make_record, make_subscription
from tests.pages.world import Tenants


def _said(t: Tenants) -> str:
    return sandbox.notification(make_subscription(t.acme), "subscribe-fail")


def _waiting(t: Tenants, by: dict[str, Any]) -> dict[str, Any]:
    row = make_subscription(t.acme)
    MarketplaceNotification.objects.create(
        key="k",
        action="subscribe-fail",
        product_code=row.product_code,
        customer=row.customer,
        sent_at=timezone.now(),
        outcome="WAITING",
        body="",
    )
    return by


def _cancelled(t: Tenants, by: dict[str, Any]) -> dict[str, Any]:
    since = timezone.now() - timedelta(hours=2)
    make_subscription(t.acme, state="CANCELLING", suspended_at=since, notified_at=since)
    return by


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "accounts.services_subscriptions.take_notification": (
        "marketplace_subscription.change",
        lambda t, by: subscriptions.take_notification(**by, body=_said(t), message_id="m", sent_at=timezone.now()),
    ),
    "accounts.services_subscriptions.apply_waiting": (
        "marketplace_subscription.change",
        lambda t, by: subscriptions.apply_waiting(**_waiting(t, by)),
    ),
    "accounts.services_subscriptions.end_cancelled": (
        "marketplace_subscription.change",
        lambda t, by: subscriptions.end_cancelled(**_cancelled(t, by)),
    ),
    "accounts.services_subscriptions.record_entitlements": (
        "marketplace_subscription.change",
        lambda t, by: subscriptions.record_entitlements(
            **by,
            subscription=make_subscription(
                t.acme, entitlements_read_at=timezone.now(), active_since=timezone.now() - timedelta(hours=2)
            ),
            granted=[],
            read_at=timezone.now() + timedelta(seconds=1),
        ),
    ),
    "billing.services_marketplace.retry_record": (
        "meter_record.retry",
        lambda t, by: retry_record(**by, record=make_record(make_period(t.acme), state="REFUSED", due_at=None)),
    ),
}
MAKES_ITS_OWN = ("take_notification", "apply_waiting", "end_cancelled", "record_entitlements", "retry_record")
