"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, organizations, memberships, permissions and the audit log."""

    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        """Make the periodic work and our checks known, hear of sign-ins, and see to what hangs on those who go."""
        from django.conf import settings
        from django.core.checks import Tags, register

        from accounts import (
            audit_search,
            checks,
            entitlements,
            hooks,
            marketplace_queue,
            services_impersonation,
            services_lockout,
            services_marketplace,
            services_signup,
            services_subscriptions,
            sessions,
            signin_events,
            sso_hooks,
            token_hooks,
        )
        from portal import scheduler

        hooks.organization_deleted.append(
            lambda actor, organization: services_marketplace.release(actor=actor, organization=organization)
        )
        signin_events.connect()
        scheduler.every(30, "impersonations", services_impersonation.end_expired)
        scheduler.every(10, "audit search", audit_search.settle)
        scheduler.every(3600, "remove expired sessions", sessions.sweep)
        scheduler.every(3600, "dormancy", services_lockout.sweep)
        scheduler.every(600, "sign-ups", services_signup.sweep)
        if settings.PORTAL_MARKETPLACE != "off":
            scheduler.every(5, "marketplace subscriptions", services_subscriptions.sweep)
            scheduler.every(30, "marketplace entitlements", entitlements.read_due)
        if settings.PORTAL_MARKETPLACE_QUEUE_URL:
            scheduler.every(5, "marketplace queue", marketplace_queue.read)
        hooks.membership_ended.append(sso_hooks.membership_ended)
        hooks.organization_deleted.append(sso_hooks.organization_deleted)
        hooks.membership_ended.append(token_hooks.membership_ended)
        hooks.organization_deleted.append(token_hooks.organization_deleted)
        register(checks.sandbox_in_the_open, Tags.security, deploy=True)
