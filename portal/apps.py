"""The portal app: the reconciliation engine, the scheduler and what all other apps share."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Shared machinery."""

    name = "portal"
