"""Usage alarms on LOCAL: the portal keeps the metric, evaluates it, and sends the mails. There is nothing to deploy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from billing import alarms_metric
from portal.clouds.base import (
    AlarmObservation,
    AlarmSpec,
    AlarmState,
    Event,
    Handle,
    Sample,
    Settled,
    Step,
    Target,
)
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration

MINUTE = timedelta(minutes=1)


def evaluate(samples: Mapping[datetime, int], minute: datetime, minutes: int, threshold: int) -> tuple[AlarmState, str]:
    """What an alarm says at the end of ``minute``, with the reason, from the samples of the ``minutes`` up to then.

    Above the threshold in all of them: ALARM. Not above it in one: OK, whatever is missing. Else nobody can tell.
    """
    period = [samples.get(minute - MINUTE * ago) for ago in range(minutes)]
    known = [vcpus for vcpus in period if vcpus is not None]
    missing = len(period) - len(known)
    span = f"{minutes} minute{'s' if minutes > 1 else ''}"
    if known and min(known) <= threshold:
        return (
            AlarmState.OK,
            f"Within {span}, {min(known)} vCPUs were in use at least once, which is not above {threshold}.",
        )
    if missing:
        return (
            AlarmState.INSUFFICIENT_DATA,
            f"Of the last {span}, {missing} {'has' if missing == 1 else 'have'} no sample.",
        )
    return AlarmState.ALARM, f"For {span}, at least {min(known)} vCPUs were in use, which is above {threshold}."


class LocalAlarms:
    """``portal.clouds.base.Alarms`` over the portal's own samples."""

    portal_sends = True
    observe_seconds = 60.0

    def __init__(self, configuration: CloudConfiguration) -> None:
        self.configuration = configuration

    def advance_alarm(self, spec: AlarmSpec, handle: Handle, target: Target) -> Step:
        """At once. The handle only remembers that people were told."""
        if target is Target.TERMINATED:
            return Step({}, Settled(), [Event("alarm", "The alarm is removed.")])
        wanted = {"threshold": spec.threshold, "period": spec.period}
        minutes = spec.period // 60
        text = f"The alarm watches: more than {spec.threshold} vCPUs for {minutes} minute{'s' if minutes > 1 else ''}."
        return Step({"watching": wanted}, Settled(), [] if handle.get("watching") == wanted else [Event("alarm", text)])

    def observe_alarms(self, alarms: Sequence[tuple[AlarmSpec, Handle]]) -> Sequence[AlarmObservation]:
        """Evaluate the last minutes up to this one, for which there is a sample unless it could not be taken."""
        minute = alarms_metric.minute_of(timezone.now())
        longest = max((spec.period for spec, _ in alarms), default=0)
        after = minute - timedelta(seconds=longest)
        samples = alarms_metric.samples_between({self.configuration.pk}, after, minute)[self.configuration.pk]
        observations = []
        for spec, _ in alarms:
            state, reason = evaluate(samples, minute, spec.period // 60, spec.threshold)
            observations.append(AlarmObservation(state, reason, minute))
        return observations

    def metric_history(self, start: datetime, end: datetime, period: int) -> Sequence[Sample]:
        """From the table."""
        return alarms_metric.history(self.configuration, start, end, period)

    def total_vcpus(self) -> int | None:
        """What this machine has."""
        return cloud_of(self.configuration).total_vcpus()
