"""The billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Rates, usage and what it costs."""

    name = "billing"

    def ready(self) -> None:
        """Keep the intervals in step with the ledgers, close months, and tell what runs cost."""
        from billing import banners, holds, ladder, metering, rates, runs, savings, statements
        from clusters import launching, ledger, pricing
        from jobs import costs
        from portal import scheduler

        costs.costs_of = runs.costs_of
        pricing.refuse_unpriced = rates.refuse_unpriced
        pricing.hourly = rates.hourly_now
        launching.checks.append(holds.reserve)
        launching.room = banners.room
        ledger.followers.append(holds.follow)
        pricing.saved_this_month = savings.saved_this_month
        scheduler.every(10, "metering", metering.meter)
        scheduler.every(10, "budgets", ladder.climb_all)
        scheduler.every(600, "statements", statements.close_due)
        _start_alarms()
        _start_marketplace()


def _start_alarms() -> None:
    """Usage alarms: watch them, and see to what hangs on configurations and organizations."""
    from accounts import hooks as people
    from billing import alarms_metric, alarms_reconcile, services_alarms
    from billing.alarms import WATCHED
    from billing.models import Alarm
    from portal import reconcile, scheduler
    from workspaces import hooks as workspaces
    from workspaces.models import CloudConfiguration

    def alarms_on(configuration: CloudConfiguration) -> list[str]:
        return [f"the usage alarm {alarm}" for alarm in Alarm.objects.standing_on(configuration)]

    reconcile.register(alarms_reconcile.AlarmMachine())
    scheduler.every(15, "usage alarms", alarms_reconcile.watch)
    scheduler.every(3600, "old usage samples", alarms_metric.prune)
    workspaces.configuration_pages.append(("Usage alarms", "billing:alarms", WATCHED))
    workspaces.configuration_uses.append(alarms_on)
    people.organization_deleted.append(
        lambda actor, organization: services_alarms.delete_alarms_of(actor=actor, organization=organization)
    )


def _start_marketplace() -> None:
    """Report what was used to AWS Marketplace, and stop those whose subscription does not stand."""
    from django.conf import settings

    from billing.marketplace import sending, standing, work
    from clusters import launching
    from portal import scheduler

    launching.checks.append(standing.refuse_suspended)
    if settings.PORTAL_MARKETPLACE != "off":
        scheduler.every(10, "marketplace hours", work.hours)
        scheduler.every(10, "marketplace reports", sending.send)
