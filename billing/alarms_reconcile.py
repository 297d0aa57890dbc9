"""How a usage alarm is made true, and how the portal learns what it says."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing import alarms_letters, alarms_metric
from billing.alarms import alarms_of
from billing.models import ALARM_TRANSITIONS, Alarm, AlarmChange, AlarmStatus
from portal import events, queue
from portal.clouds.base import (
    AlarmObservation,
    AlarmState,
    CloudError,
    EndpointState,
    Event,
    Level,
    Pending,
    Settled,
    Step,
    Target,
)
from portal.models import record_event
from portal.reconcile import Machine
from workspaces.models import CloudConfiguration

logger = logging.getLogger(__name__)

RETRY_REMOVAL = timedelta(seconds=60)
LATE = timedelta(minutes=5)
"""An observation that is older than the last one by no more than that comes from a slower scheduler; by more, the clock
was set back, and it is taken."""


def set_status(alarm: Alarm, status: str) -> None:
    """Move along the table of transitions; a move that is not in it is a mistake of ours."""
    if status == alarm.status:
        return
    if status not in ALARM_TRANSITIONS[alarm.status]:
        raise RuntimeError(f"An alarm does not go from {alarm.status} to {status}.")
    alarm.status = status


class AlarmMachine(Machine[Alarm]):
    """NEW → INPROGRESS → READY → TERMINATING → TERMINATED, or FAILED."""

    name = "alarm"
    model = Alarm

    def load(self, pk: str) -> Alarm | None:
        """The alarm with its configuration and endpoints."""
        return Alarm.objects.select_related("configuration").prefetch_related("endpoints").filter(pk=pk).first()

    def advance(self, row: Alarm) -> Step:
        """One step of the deployment."""
        return alarms_of(row.configuration).advance_alarm(row.spec(), row.handle, Target(row.target))

    def apply(self, row: Alarm, step: Step) -> None:
        """Statuses by the target. What is gone tells nobody, so it keeps no addresses."""
        leaving = row.target == Target.TERMINATED
        if leaving:
            set_status(row, AlarmStatus.TERMINATING)
        match step.outcome:
            case Pending() if not leaving:
                set_status(row, AlarmStatus.INPROGRESS)
            case Settled():
                set_status(row, AlarmStatus.TERMINATED if leaving else AlarmStatus.READY)
                row.progress_message, row.progress = "", None
                if leaving:
                    row.endpoints.all().delete()
        row.failure_code = row.failure_message = row.failure_hint = ""

    def fail(self, row: Alarm, error: CloudError) -> None:
        """The reason stays on the page until somebody changes the alarm or tries again. A removal is tried for as long
        as it takes."""
        if row.target == Target.TERMINATED:
            set_status(row, AlarmStatus.TERMINATING)
            row.due_at = timezone.now() + RETRY_REMOVAL
            row.progress_message = f"{error.message} Trying again every minute."[:500]
        else:
            set_status(row, AlarmStatus.FAILED)
        row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint

    def saved(self, row: Alarm) -> None:
        """Tell the pages of the organization."""
        events.notify(row.configuration.organization_id, f"alarm-{row.pk}")


def watch() -> int:
    """Take the samples that are due, then learn what alarms say. Returns how many changed."""
    alarms_metric.sample()
    return observe()


def observe() -> int:
    """Ask what the alarms that stand say, with one call for each configuration. Returns how many changed."""
    by_configuration: dict[UUID, list[Alarm]] = defaultdict(list)
    for alarm in Alarm.objects.filter(status=AlarmStatus.READY).prefetch_related("endpoints"):
        by_configuration[alarm.configuration_id].append(alarm)
    changed, now = 0, timezone.now()
    for configuration in CloudConfiguration.objects.filter(pk__in=by_configuration):
        alarms, provider = by_configuration[configuration.pk], alarms_of(configuration)
        pause = timedelta(seconds=provider.observe_seconds)
        if all(alarm.observed_at and timedelta(0) <= now - alarm.observed_at < pause for alarm in alarms):
            continue
        try:
            observations = provider.observe_alarms([(alarm.spec(), alarm.handle) for alarm in alarms])
        except CloudError as error:  # one account that does not answer must not hide the others
            logger.warning("The alarms of %s could not be observed: %s", configuration.pk, error)
            continue
        for alarm, observation in zip(alarms, observations, strict=True):
            changed += record_observation(alarm, observation, portal_sends=provider.portal_sends)
    return changed


@transaction.atomic
def record_observation(seen: Alarm, observation: AlarmObservation, *, portal_sends: bool) -> bool:
    """Keep what an alarm says. A change, the line about it and its mails are one transaction. True if it changed."""
    rows = Alarm.objects.select_for_update(of=("self",)).select_related("configuration__organization")
    row = rows.filter(pk=seen.pk, status=AlarmStatus.READY, revision=seen.revision).first()
    if row is None or (row.observed_at and observation.at <= row.observed_at <= observation.at + LATE):
        return False
    row.observed_at, row.state_reason = observation.at, observation.reason[:500]
    changed = observation.state != row.state
    if changed:
        _change(row, observation, portal_sends=portal_sends)
    if observation.endpoints is not None:
        _take_endpoints(row, observation)
    row.save(update_fields=["observed_at", "state_reason", "state", "state_at", "told", "changes", "due_at"])
    return changed


def _change(row: Alarm, observation: AlarmObservation, *, portal_sends: bool) -> None:
    """Endpoints hear of ALARM, and of OK after it. A gap in the metric (the portal was away) is no news to them."""
    row.state, row.state_at = observation.state, observation.at
    row.changes += 1
    told = 0
    if portal_sends and row.state not in {AlarmState.INSUFFICIENT_DATA, row.told}:
        told = alarms_letters.tell(alarm=row)
        row.told = row.state if told else row.told
    AlarmChange.objects.create(
        alarm=row, number=row.changes, at=row.state_at, state=row.state, reason=row.state_reason, told=told
    )
    events.notify(row.configuration.organization_id, f"alarm-{row.pk}")


def _take_endpoints(row: Alarm, observation: AlarmObservation) -> None:
    """Where the provider keeps the endpoints: how they stand there, and which of them should not be there."""
    known = dict(observation.endpoints or {})
    for endpoint in row.endpoints.all():
        state = known.pop(endpoint.address, None)
        if state is None and endpoint.state == EndpointState.CONFIRMED:
            state = EndpointState.UNSUBSCRIBED
        if state is None or state == endpoint.state:
            continue
        endpoint.state = state
        endpoint.save(update_fields=["state"])
        record_event(row.pk, Event("endpoints", f"{endpoint.address} is {state.lower()} now.", Level.INFO))
        events.notify(row.configuration.organization_id, f"alarm-{row.pk}")
    if row.own_topic and EndpointState.CONFIRMED in known.values():
        row.due_at = timezone.now()  # somebody confirmed after their address was removed
        queue.enqueue("alarm", row.pk)
