"""How a configuration whose things a CloudFormation stack makes becomes READY: the portal looks until it can use them.

The stack is the customer's: the portal sees it by what it leaves (``portal.clouds.aws.follow``).
"""

from __future__ import annotations

import time
from dataclasses import asdict

from django.conf import settings
from django.utils import timezone

from portal import events
from portal.clouds.aws.follow import Stage, follow
from portal.clouds.base import CloudError, Event, Pending, Settled, Step
from portal.reconcile import Machine
from workspaces.models import CONFIGURATION_TRANSITIONS, CloudConfiguration, ConfigurationStatus

SOON, LATER, LONG = 5.0, 60.0, 15 * 60.0
"""Seconds between two looks: at first, and once somebody has not made the stack for a quarter of an hour."""

GIVES_UP = 24 * 3600.0


def set_status(configuration: CloudConfiguration, status: str) -> None:
    """Move along CONFIGURATION_TRANSITIONS; a move that is not in the table is a mistake of ours."""
    if status not in CONFIGURATION_TRANSITIONS[configuration.status]:
        raise RuntimeError(f"A cloud configuration does not go from {configuration.status} to {status}.")
    configuration.status = status


class ConfigurationMachine(Machine[CloudConfiguration]):
    """CREATING → READY, or FAILED. The handle has since when it is looked, and what was seen last."""

    name = "configuration"
    model = CloudConfiguration

    def load(self, pk: str) -> CloudConfiguration | None:
        """The configuration, unless it was deleted."""
        return CloudConfiguration.objects.filter(pk=pk, deleted_at=None).first()

    def advance(self, row: CloudConfiguration) -> Step:
        """Look once."""
        since = float(row.handle.get("since", time.time()))
        found = follow(
            str(row.pk), row.account, row.settings["region"], row.external_id or "", settings.PORTAL_AWS_ENDPOINT
        )
        checks = [asdict(check) for check in found.checks]
        handle = {"since": since, "seen": found.detail, "checks": checks}
        news = [] if row.handle.get("seen") == found.detail else [Event(found.stage.lower(), found.detail)]
        if found.stage is Stage.COMPLETE:
            return Step(handle, Settled(), news)
        waited = time.time() - since
        if waited > GIVES_UP:
            hint = "Open the link and make the stack, then follow it again."
            raise CloudError("StackNotFinished", f"A day went by. {found.detail}", hint, permanent=True)
        return Step(handle, Pending(SOON if waited < LONG else LATER), news)

    def apply(self, row: CloudConfiguration, step: Step) -> None:
        """READY once everything was seen. What was seen last stays on the page."""
        if step.handle["checks"]:
            row.checks, row.checked_at = step.handle["checks"], timezone.now()
        row.failure_code = row.failure_message = row.failure_hint = ""
        if isinstance(step.outcome, Settled):
            set_status(row, ConfigurationStatus.READY)
            row.progress_message, row.progress = "", None

    def fail(self, row: CloudConfiguration, error: CloudError) -> None:
        """The reason stays on the page."""
        set_status(row, ConfigurationStatus.FAILED)
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: CloudConfiguration) -> None:
        """Tell its page."""
        events.notify(row.organization_id, f"configuration-{row.pk}")
