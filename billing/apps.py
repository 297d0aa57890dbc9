"""The billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Rates, usage and what it costs."""

    name = "billing"

    def ready(self) -> None:
        """Keep the intervals in step with the ledgers, close months, and tell what runs cost."""
        from billing import metering, rates, runs, statements
        from clusters import pricing
        from jobs import costs
        from portal import scheduler

        costs.costs_of = runs.costs_of
        pricing.refuse_unpriced = rates.refuse_unpriced
        scheduler.every(10, "metering", metering.meter)
        scheduler.every(600, "statements", statements.close_due)
