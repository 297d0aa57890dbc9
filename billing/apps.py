"""The billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Rates, usage and what it costs."""

    name = "billing"

    def ready(self) -> None:
        """Keep the intervals in step with the ledgers."""
        from billing import metering
        from portal import scheduler

        scheduler.every(10, "metering", metering.meter)
