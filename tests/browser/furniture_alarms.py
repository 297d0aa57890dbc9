"""Usage alarms of the museum: one that has gone off, one that failed, long names, and a history with gaps in it."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from billing.alarms_links import confirm_key, unsubscribe_key
from billing.models import AlarmChange, UsageSample
from portal.clouds.base import EndpointState, Level
from portal.models import DeploymentEvent
from tests.billing.alarms_world import make_alarm, make_endpoint
from tests.factories import make_configuration
from workspaces.models import Workspace


def fill_alarms(owner: User, workspace: Workspace, long: str) -> dict[str, str]:
    """Make them. The scheduler of the stage watches them: a cluster runs, so the low threshold stays passed."""
    now = timezone.now().replace(second=0, microsecond=0)
    configuration = workspace.cloud_configuration
    minutes = [now - timedelta(minutes=ago) for ago in range(1, 12 * 1440)]
    kept = [at for at in minutes if not (at.weekday() == 5 and at.hour < 9)]
    UsageSample.objects.bulk_create(
        [
            UsageSample(
                configuration=configuration, minute=at, vcpus=4 + (at.hour * 7 + at.day * 3) % 9 * (at.hour > 6)
            )
            for at in kept
        ],
        ignore_conflicts=True,
        batch_size=5000,
    )
    alarm = make_alarm(
        configuration,
        name="vCPUs in use",
        threshold=3,
        state="ALARM",
        told="ALARM",
        state_at=now - timedelta(hours=2),
        state_reason="For 5 minutes, at least 4 vCPUs were in use, which is above 3.",
        observed_at=now,
        changes=2,
        created_by=owner,
    )
    make_endpoint(alarm, address="oncall@northwind.example")
    waits = make_endpoint(alarm, EndpointState.PENDING, address="finance@northwind.example")
    make_endpoint(alarm, EndpointState.UNSUBSCRIBED, address=f"{'long' * 14}@{'very-' * 8}long.example")
    for number, (state, hours) in enumerate((("OK", 30), ("ALARM", 2)), 1):
        AlarmChange.objects.create(
            alarm=alarm,
            number=number,
            at=now - timedelta(hours=hours),
            state=state,
            reason=alarm.state_reason if state == "ALARM" else "Within 5 minutes, 2 vCPUs were in use at least once.",
            told=number - 1,
        )
    failure = "User: arn:aws:sts::210987654321:assumed-role/bodo is not authorized to perform: SNS:CreateTopic"
    failed = make_alarm(
        configuration,
        name=long,
        topic="t" * 200,
        status="FAILED",
        threshold=1000,
        failure_code="PermissionDenied",
        failure_message=failure,
        failure_hint="Give the role the permission sns:CreateTopic, then try again.",
    )
    DeploymentEvent.objects.create(subject=failed.pk, step="topic", message=failure, level=Level.ERROR.value)
    spare = make_configuration(workspace.organization)
    return {
        "configuration": str(configuration.pk),
        "spare_configuration": str(spare.pk),
        "alarm": str(alarm.pk),
        "failed_alarm": str(failed.pk),
        "alarm_confirm_key": confirm_key(waits),
        "alarm_unsubscribe_key": unsubscribe_key(waits),
    }
