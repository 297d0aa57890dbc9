"""What AWS Marketplace says of subscriptions: each notification is applied once, and what follows from it is done.

A suspended subscription keeps its organization, and the organization keeps everything; only nothing can be started.
The organization's own ``suspended_at`` says so to all pages; it is written here, and in ``services_marketplace``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts import audit, audit_detail, letters, marketplace, notifications
from accounts.audit import Actor
from accounts.models import (
    MarketplaceEntitlement,
    MarketplaceNotification,
    MarketplaceSubscription,
    NotificationOutcome,
    Organization,
    SubscriptionState,
)
from accounts.models.marketplace import FINAL_HOUR
from accounts.notifications import Message, UnreadableError

logger = logging.getLogger(__name__)

READ_AGAIN = timedelta(hours=1)
"""How long entitlements are taken as they were read."""

FIRST_ENTITLEMENT = timedelta(hours=1)
"""How long a new contract may stay without any entitlement."""

BATCH = 500

STATES = {
    notifications.SUBSCRIBED: SubscriptionState.ACTIVE,
    notifications.LICENSE_UPDATED: SubscriptionState.ACTIVE,
    notifications.FAILED: SubscriptionState.FAILED,
    notifications.CANCELLED: SubscriptionState.CANCELLING,
    notifications.LICENSE_ENDED: SubscriptionState.CANCELLING,
    notifications.ENDED: SubscriptionState.ENDED,
}


@dataclass(frozen=True)
class Granted:
    """One entitlement, as AWS says. ``expires_at`` is None where it has no end."""

    dimension: str
    value: str
    expires_at: datetime | None


@transaction.atomic
def take_notification(*, actor: Actor, body: str, message_id: str, sent_at: datetime) -> MarketplaceNotification:
    """Keep a message, and do what it says. One that is known already changes nothing.

    ``message_id`` and ``sent_at`` are the queue's; what the message itself says goes before.
    """
    now = timezone.now()
    message, remark = None, ""
    try:
        message = notifications.read(body, message_id)
    except UnreadableError as error:
        remark = str(error)
    fields = {
        "sent_at": min(message.sent_at if message and message.sent_at else sent_at, now),
        "received_at": now,
        "body": audit_detail.storable(body)[: notifications.LONGEST],
        "outcome": NotificationOutcome.UNREADABLE,
        "remark": remark,
    }
    if message:
        fields |= {
            "action": message.action[:100],
            "product_code": message.product_code,
            "customer": message.customer,
            "license_arn": message.license_arn,
            "outcome": _ours(message),
        }
    key = message.key if message else notifications.fallback_key(body, message_id)
    try:
        with transaction.atomic():
            row = MarketplaceNotification.objects.create(key=key[:200], **fields)
    except IntegrityError:
        return MarketplaceNotification.objects.get(key=key[:200])
    if row.outcome == NotificationOutcome.UNREADABLE:
        logger.error("AWS Marketplace sent a message that makes no sense (kept as %d): %s", row.pk, remark)
    elif row.outcome == NotificationOutcome.WAITING:
        _apply(actor, row)
    return row


@transaction.atomic
def apply_waiting(*, actor: Actor) -> int:
    """Do what notifications say whose customers have registered meanwhile, in the order in which AWS sent them."""
    known = MarketplaceSubscription.objects.filter(
        Q(customer=OuterRef("customer")) | Q(customer_identifier=OuterRef("customer")),
        product_code=OuterRef("product_code"),
    )
    rows = MarketplaceNotification.objects.select_for_update(skip_locked=True).filter(
        Exists(known), outcome=NotificationOutcome.WAITING
    )
    return sum(_apply(actor, row) for row in rows.order_by("sent_at", "pk")[:BATCH])


@transaction.atomic
def end_cancelled(*, actor: Actor) -> int:
    """AWS takes records for an hour after a cancellation. Then it is over, whether or not a message says so."""
    since = timezone.now() - FINAL_HOUR
    over = MarketplaceSubscription.objects.filter(state=SubscriptionState.CANCELLING, notified_at__lte=since)
    return sum(
        _enter(actor, row, SubscriptionState.ENDED, "the final hour is over")
        for row in map(_locked, over)
        if row.state == SubscriptionState.CANCELLING and row.notified_at and row.notified_at <= since
    )


def sweep() -> None:
    """What time brings."""
    by = audit.system("AWS Marketplace")
    apply_waiting(actor=by)
    end_cancelled(actor=by)


@transaction.atomic
def record_entitlements(
    *, actor: Actor, subscription: MarketplaceSubscription, granted: Iterable[Granted], read_at: datetime
) -> None:
    """Keep what AWS answered at ``read_at``. A contract of which nothing is in force any more is expired; one that
    has something again is active again. An answer older than the last one kept is dropped."""
    row = _locked(subscription)
    if row.entitlements_read_at and read_at <= row.entitlements_read_at:
        return
    found = {each.dimension: each for each in granted}
    row.entitlements.exclude(dimension__in=found).delete()
    MarketplaceEntitlement.objects.bulk_create(
        [
            MarketplaceEntitlement(
                subscription=row, dimension=each.dimension, value=each.value[:255], expires_at=each.expires_at
            )
            for each in found.values()
        ],
        update_conflicts=True,
        unique_fields=["subscription", "dimension"],
        update_fields=["value", "expires_at"],
    )
    ends = [each.expires_at for each in found.values() if each.expires_at and each.expires_at > read_at]
    first, row.entitlements_read_at = row.entitlements_read_at is None, read_at
    row.entitlements_due_at = min([read_at + READ_AGAIN, *ends])
    row.save(update_fields=["entitlements_read_at", "entitlements_due_at"])
    stands = any(each.expires_at is None or each.expires_at > read_at for each in found.values())
    new = not found and (first or row.active_since is None or read_at < row.active_since + FIRST_ENTITLEMENT)
    if stands and row.state == SubscriptionState.EXPIRED:
        _enter(actor, row, SubscriptionState.ACTIVE, "an entitlement is in force")
    elif not stands and not new and row.state == SubscriptionState.ACTIVE:
        _enter(actor, row, SubscriptionState.EXPIRED, "no entitlement is in force")


def settle_organization(*, organization: Organization) -> None:
    """Let an organization be suspended as its subscription is: the one that was linked last."""
    current = MarketplaceSubscription.objects.in_organization(organization).first()
    suspended_at = current.suspended_at if current else None
    row = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    if row.suspended_at != suspended_at:
        row.suspended_at = suspended_at
        row.save(update_fields=["suspended_at"])


def _ours(message: Message) -> NotificationOutcome:
    if message.action not in notifications.ACTIONS:
        return NotificationOutcome.IGNORED
    if message.product_code not in marketplace.product_codes():
        logger.warning("AWS Marketplace sent a notification for the product %r, not ours.", message.product_code)
        return NotificationOutcome.IGNORED
    return NotificationOutcome.WAITING


def _apply(actor: Actor, row: MarketplaceNotification) -> bool:
    """Whether it was done with."""
    subscription = _subscription_of(row)
    if subscription is None:
        return False
    row.subscription, row.outcome = subscription, NotificationOutcome.APPLIED
    state = STATES.get(row.action)
    if state and subscription.notified_at and row.sent_at < subscription.notified_at:
        row.outcome = NotificationOutcome.LATE
    elif state:
        subscription.notified_at = row.sent_at
        subscription.save(update_fields=["notified_at"])
        _enter(actor, subscription, state, row.action)
    if marketplace.is_contract(subscription.product_code):
        subscription.entitlements_due_at = timezone.now()  # whatever happened, ask what holds now
        subscription.save(update_fields=["entitlements_due_at"])
    row.save(update_fields=["subscription", "outcome"])
    return True


def _subscription_of(row: MarketplaceNotification) -> MarketplaceSubscription | None:
    """The one that a notification is about, locked. Without a licence, the newest of the customer's."""
    customer = Q(customer=row.customer) | Q(customer_identifier=row.customer)
    rows = MarketplaceSubscription.objects.played(settings.PORTAL_MARKETPLACE).filter(customer)
    rows = rows.filter(product_code=row.product_code).order_by("-created_at")
    if row.license_arn:
        wanted = notifications.license_id(row.license_arn)
        mine = [each for each in rows if notifications.license_id(each.license_arn) == wanted]
        found = mine[0] if mine else rows.filter(license_arn="").first()
    else:
        found = rows.first()
    return _locked(found) if found else None


def _locked(subscription: MarketplaceSubscription) -> MarketplaceSubscription:
    """As it is now, locked after its organization, as all do who lock both."""
    if subscription.organization_id:
        Organization.objects.select_for_update(no_key=True).filter(pk=subscription.organization_id).first()
    rows = MarketplaceSubscription.objects.select_for_update(of=("self",)).select_related("organization")
    return rows.get(pk=subscription.pk)


def _enter(actor: Actor, row: MarketplaceSubscription, state: SubscriptionState, why: str) -> bool:
    """Bring a locked subscription into a state, with its event and the letters; whether anything changed."""
    before, now = SubscriptionState(row.state), timezone.now()
    organization, state = row.organization, _reachable(row, state)
    if state == before:
        return False
    row.state = state
    if state == SubscriptionState.ACTIVE:
        row.active_since, row.suspended_at = now, None
    elif state == SubscriptionState.PENDING:
        row.organization = row.linked_at = row.active_since = row.suspended_at = None
    else:
        row.suspended_at = row.suspended_at or now
    row.save(update_fields=["state", "organization", "linked_at", "active_since", "suspended_at"])
    audit.record(
        actor,
        "marketplace_subscription.change",
        row,
        organization=organization,
        before={"state": before},
        after={"state": state},
        reason=why,
        account=row.account_id or row.customer_identifier,
        product=row.product_code,
    )
    if organization:
        settle_organization(organization=organization)
        _tell(organization, row, before)
    return True


def _reachable(row: MarketplaceSubscription, state: SubscriptionState) -> SubscriptionState:
    """What a wish for a state comes to."""
    if state == SubscriptionState.CANCELLING and row.state == SubscriptionState.ENDED:
        return SubscriptionState.ENDED
    if state != SubscriptionState.ACTIVE:
        return state
    if row.state == SubscriptionState.EXPIRED and not _in_force(row):
        return SubscriptionState.EXPIRED  # until its entitlements, which are asked for now, say otherwise
    others = MarketplaceSubscription.objects.filter(organization=row.organization, state=SubscriptionState.ACTIVE)
    if row.organization is None or others.exclude(pk=row.pk).exists():
        return SubscriptionState.PENDING  # its organization has another one meanwhile: to be registered again
    return SubscriptionState.ACTIVE


def _in_force(row: MarketplaceSubscription) -> bool:
    return row.entitlements.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now())).exists()


def _tell(organization: Organization, row: MarketplaceSubscription, before: SubscriptionState) -> None:
    """Mails to those who pay. Nobody hears of the end who has heard of the cancellation."""
    current = MarketplaceSubscription.objects.in_organization(organization).first()
    if current is None or current.pk != row.pk:
        return  # another subscription pays
    if row.state == SubscriptionState.ACTIVE:
        letters.subscription_restored(organization=organization)
    elif before == SubscriptionState.ACTIVE:
        letters.subscription_suspended(organization=organization, subscription=row)
