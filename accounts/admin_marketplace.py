"""What came through AWS Marketplace: subscriptions, registrations, notifications."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts import audit, services_marketplace
from accounts.admin_base import WithAudit
from accounts.admin_organizations import facts
from accounts.models import (
    MarketplaceEntitlement,
    MarketplaceNotification,
    MarketplaceRegistration,
    MarketplaceSubscription,
    Organization,
)
from portal.admin import LookOnlyAdmin, Task, link


def _release(request: HttpRequest, subscription: MarketplaceSubscription, _: str) -> str:
    organization = subscription.organization
    assert organization
    services_marketplace.release(actor=audit.staff_of(request), organization=organization)
    return f"{organization} has no subscription any more."


@admin.register(MarketplaceSubscription)
class MarketplaceSubscriptionAdmin(WithAudit[MarketplaceSubscription], LookOnlyAdmin[MarketplaceSubscription]):
    """What customers of AWS Marketplace have bought."""

    list_display = ["product_code", "customer", "state", "organization", "sandbox", "linked_at", "suspended_at"]
    list_filter = ["state", "sandbox"]
    list_select_related = ["organization"]
    search_fields = ["customer", "account_id", "license_arn", "organization__name"]
    ordering = ["-created_at"]
    tasks = [
        Task(
            "release",
            "Let its organization go",
            "From now on its organization is billed without AWS Marketplace: nothing more is reported there, and if it "
            "was suspended, it can start clusters again. Whoever registers the subscription again can choose another "
            "organization for it.",
            _release,
            permission="accounts.change_marketplacesubscription",
            offered=lambda subscription: subscription.organization_id is not None,
            danger=True,
        )
    ]


@admin.register(MarketplaceNotification)
class MarketplaceNotificationAdmin(LookOnlyAdmin[MarketplaceNotification]):
    """What AWS Marketplace said, and what became of it."""

    list_display = ["sent_at", "action", "product_code", "customer", "outcome", "remark", "subscription"]
    list_filter = ["outcome", "action"]
    list_select_related = ["subscription"]
    search_fields = ["customer", "product_code", "license_arn", "body"]
    date_hierarchy = "received_at"
    ordering = ["-id"]
    fields = ["action", "product_code", "customer", "license_arn", "sent_at", "received_at", "outcome", "remark"]
    fields += ["subscription", "body"]


@admin.register(MarketplaceEntitlement)
class MarketplaceEntitlementAdmin(LookOnlyAdmin[MarketplaceEntitlement]):
    """What contracts grant."""

    list_display = ["subscription", "dimension", "value", "expires_at"]
    list_select_related = ["subscription"]
    search_fields = ["subscription__customer", "dimension"]
    ordering = ["-expires_at"]


@admin.register(MarketplaceRegistration)
class MarketplaceRegistrationAdmin(LookOnlyAdmin[MarketplaceRegistration]):
    """Buyers who came with a token. The token itself is not kept."""

    list_display = ["created_at", "subscription", "expires_at", "claimed_at"]
    list_filter = [("claimed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["subscription"]
    search_fields = ["subscription__customer", "subscription__product_code"]
    ordering = ["-created_at"]
    fields = ["subscription", "created_at", "expires_at", "claimed_at"]


@admin.display(description="Subscription")
def subscriptions_of(organization: Organization) -> SafeString | str:
    """What was bought for it."""
    rows = MarketplaceSubscription.objects.filter(organization=organization).order_by("-linked_at")[:10]
    return format_html_join(", ", "{} ({})", ((link(row), row.get_state_display()) for row in rows)) or "None."


facts.append(subscriptions_of)
