"""What usage alarms stand on: from a configuration to its provider's alarms, and the guide's threshold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, log10

from billing.alarms_local import LocalAlarms
from billing.models import Alarm
from portal.clouds.aws.alarms import AwsAlarms
from portal.clouds.base import Alarms, CloudError
from workspaces.clouds import aws_session
from workspaces.models import CloudConfiguration, Provider

WEEK = timedelta(weeks=1)
MINUTE = timedelta(minutes=1)
PERIOD_MINUTES = 5
"""The guide's default."""

PERIODS = (5, 15, 60, 360)
"""Minutes that can be chosen. CloudWatch takes them all, and AWS counts vCPUs too seldom for shorter ones."""

MARGIN = 1.15
"""The guide takes 1000 where the highest value of the last week was about 850."""

SHARE_OF_CAPACITY = 0.8
NAME = "vCPUs in use"
TOPIC = "usage-alarms"
LONGEST_TOPIC = 256
"""Characters that a row has for it."""

WATCHED = frozenset({Provider.LOCAL.value, Provider.AWS.value})
"""The providers whose configurations can have alarms."""


def alarms_of(configuration: CloudConfiguration) -> Alarms:
    """The alarms of a configuration's provider, which is one of ``WATCHED``. On AWS, those of the configuration's own
    region: CloudWatch has its metrics and alarms by region."""
    if configuration.provider == Provider.AWS:
        return AwsAlarms(aws_session(configuration, configuration.settings["region"]))
    return LocalAlarms(configuration)


def topics_of(alarms: Alarms) -> list[str]:
    """The topics that are there and that an alarm can be given instead of one of its own; none where the provider has
    no such things, or does not say. Those that were made for alarms go with them, so they are not offered."""
    if not isinstance(alarms, AwsAlarms):
        return []
    try:
        found = alarms.topics()
    except CloudError:
        return []
    return sorted(arn for arn in found if len(arn) <= LONGEST_TOPIC and ":portal-" not in arn)


@dataclass(frozen=True)
class Suggestion:
    """A threshold and why; None where nothing is known to take one from."""

    threshold: int | None
    reason: str


def suggestion(alarms: Alarms, now: datetime) -> Suggestion:
    """The threshold to begin with: above the highest value of the last week, or from the capacity without a history.
    Raises CloudError."""
    total = alarms.total_vcpus()
    highest = max((sample.vcpus for sample in alarms.metric_history(now - WEEK, now + MINUTE, 3600)), default=0)
    if highest:
        threshold = above(highest)
        reason = f"Suggested: {threshold}, above the highest value of the last week ({highest:g})."
        if total is not None and threshold >= total:
            reason += f" There are only {total} vCPUs, so it would never be passed: choose less to be told before that."
        return Suggestion(threshold, reason)
    if total is None:
        return Suggestion(None, "Nothing was in use in the last week, so there is no value to start from.")
    threshold = max(floor(total * SHARE_OF_CAPACITY), 1) if total > 1 else 0
    reason = f"Suggested: {threshold} of the {total} vCPUs there are, because nothing was in use in the last week."
    return Suggestion(threshold, reason)


def above(highest: float) -> int:
    """A round number that is higher by about ``MARGIN``, and higher in any case."""
    wanted = highest * MARGIN
    step = max(10 ** floor(log10(wanted)) / 2, 1)
    return max(int(ceil(wanted / step) * step), floor(highest) + 1)


def free_name(configuration: CloudConfiguration) -> str:
    """The default name, with a number where it is taken."""
    taken = {name.lower() for name in Alarm.objects.standing_on(configuration).values_list("name", flat=True)}
    names = (NAME if number == 1 else f"{NAME} {number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name.lower() not in taken)
