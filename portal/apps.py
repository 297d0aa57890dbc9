"""The portal app: the reconciliation engine, the scheduler and what all other apps share."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Shared machinery."""

    name = "portal"

    def ready(self) -> None:
        """Make the periodic work known."""
        from portal import mail, scheduler

        scheduler.every(5, "mail", mail.sweep)
