"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, organizations, memberships, permissions and the audit log."""

    name = "accounts"

    def ready(self) -> None:
        """Make the periodic work known."""
        from accounts import services_impersonation, services_lockout, services_signup, sessions
        from portal import scheduler

        scheduler.every(30, "impersonations", services_impersonation.end_expired)
        scheduler.every(3600, "remove expired sessions", sessions.sweep)
        scheduler.every(3600, "dormancy", services_lockout.sweep)
        scheduler.every(600, "sign-ups", services_signup.sweep)
