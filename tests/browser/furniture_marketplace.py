"""What AWS Marketplace says and was told, in the museum: of one organization that pays, and one that has cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import sandbox, services_subscriptions
from accounts.audit import SYSTEM
from accounts.models import MarketplaceSubscription, Organization, User
from accounts.permissions import OrganizationRole
from billing.models import MeterPeriod
from tests.factories import add_to_organization, make_organization, make_period, make_record, make_subscription

REPORTED: list[dict[str, Any]] = [
    {"state": "ACCEPTED", "quantity": 1250},
    {"state": "ACCEPTED", "quantity": 0},
    {"state": "LOST", "quantity": 48, "error": "AWS did not answer: ReadTimeoutError"},
    {"state": "REFUSED", "quantity": 7},
    {"state": "DUPLICATE", "quantity": 7},
    {"state": "ACCEPTED", "quantity": 123_456},
    {"attempts": 4, "quantity": 12, "error": "AWS is busy: ThrottlingException (400)"},
    {"quantity": 3},
]


def fill_marketplace(owner: User, paying: Organization) -> dict[str, str]:
    """Records of every kind for the one, and the end of the other."""
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=len(REPORTED))
    with transaction.atomic():  # the museum's own scheduler may begin it at any moment
        row = MarketplaceSubscription.objects.select_for_update(of=("self",)).in_organization(paying)[0]
        begun = MeterPeriod.objects.filter(subscription=row, ended_at=None).first()
        period = begun or make_period(subscription=row, started_at=start)
    for number, fields in enumerate(REPORTED):
        done = {"due_at": None if "state" in fields else start + timedelta(days=2)}
        number_of_aws = "db3b85a6-1c5c-4d6f-9e0b-6f0c3d3b7f5a" if fields.get("state") == "ACCEPTED" else ""
        hour = start + timedelta(hours=number)
        make_record(period, **{"hour": hour, "metering_record_id": number_of_aws, **done, **fields})
    cancelled = make_organization(name="Cancelled")
    add_to_organization(cancelled, owner, OrganizationRole.OWNER)
    contract = make_subscription(cancelled, product_code="sandbox-contract")
    contract.entitlements.create(dimension="seats", value="25", expires_at=start + timedelta(days=90))
    services_subscriptions.take_notification(
        actor=SYSTEM,
        body=sandbox.notification(contract, "unsubscribe-pending"),
        message_id="",
        sent_at=timezone.now(),
    )
    return {"cancelled_organization": str(cancelled.pk)}
