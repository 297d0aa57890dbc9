"""What the tests of usage alarms stand on."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from billing.models import Alarm, AlarmEndpoint, UsageSample
from portal.clouds.base import EndpointState
from tests.factories import make_configuration, make_organization, make_user
from tests.fakes import Clock
from workspaces.models import CloudConfiguration

_count = itertools.count(1)


def make_alarm(configuration: CloudConfiguration | None = None, **fields: Any) -> Alarm:
    """An alarm that is READY, unless ``fields`` says otherwise, above 2 vCPUs for 5 minutes, without endpoints."""
    values: dict[str, Any] = {
        "name": f"Alarm {next(_count)}",
        "topic": "usage-alarms",
        "threshold": 2,
        "status": "READY",
        "due_at": None,
        **fields,
    }
    configuration = configuration or make_configuration(make_organization(make_user("owner")))
    return Alarm.objects.create(configuration=configuration, **values)


def make_endpoint(alarm: Alarm, state: EndpointState = EndpointState.CONFIRMED, **fields: Any) -> AlarmEndpoint:
    """An address that has confirmed, unless it says otherwise."""
    values = {"address": f"endpoint-{next(_count)}@example.org", **fields}
    return AlarmEndpoint.objects.create(alarm=alarm, state=state, **values)


def put_samples(configuration: CloudConfiguration, last: datetime, *vcpus: int | None) -> None:
    """A sample for each minute up to ``last``, oldest first; none where it is None."""
    first = last.replace(second=0, microsecond=0) - timedelta(minutes=len(vcpus) - 1)
    UsageSample.objects.bulk_create(
        UsageSample(configuration=configuration, minute=first + timedelta(minutes=number), vcpus=value)
        for number, value in enumerate(vcpus)
        if value is not None
    )


def in_a_minute(clock: Clock) -> Clock:
    """So that tests which move it by some seconds, or look a moment back, mean the same at each time of day."""
    clock.at = clock.at.replace(second=10)
    return clock
