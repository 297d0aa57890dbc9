"""The mails of alarms where the portal sends them. Posted within the transaction of what they tell about."""

from __future__ import annotations

from django.conf import settings

from accounts.addresses import shown
from accounts.letters import send
from billing import alarms_links
from billing.models import Alarm, AlarmEndpoint
from portal.clouds.base import AlarmState, EndpointState


def ask(*, alarm: Alarm, endpoint: AlarmEndpoint) -> None:
    """Ask an address whether it wants to be told."""
    organization = alarm.configuration.organization
    send(
        endpoint.address,
        f"[{alarm.topic}] Do you want to be told about {alarm.name}?",
        f"{organization} on the Bodo Cloud Platform wants to tell {shown(endpoint.address)} when the usage alarm "
        f"{alarm.name} goes off: when more than {alarm.threshold} vCPUs are in use for {alarm.period_minutes} minutes. "
        "Open this link to say yes:",
        alarms_links.confirm_link(endpoint),
        f"It works for {alarms_links.LIFETIME.days} days. If you did not expect this, do nothing: without it, you get "
        "no mail from this alarm.",
    )


def tell(*, alarm: Alarm) -> int:
    """Tell the confirmed endpoints what the alarm says now, and return how many there are."""
    if alarm.state == AlarmState.ALARM:
        subject, what = f"ALARM: {alarm.name}", "has gone off"
    else:
        subject, what = f"OK again: {alarm.name}", "is over"
    configuration = alarm.configuration
    endpoints = alarm.endpoints.filter(state=EndpointState.CONFIRMED)
    for endpoint in endpoints:
        send(
            endpoint.address,
            f"[{alarm.topic}] {subject}",
            f"The usage alarm {alarm.name} of the cloud configuration {configuration} ({configuration.organization}) "
            f"{what}, at {alarm.state_at:%Y-%m-%d %H:%M} UTC.",
            alarm.state_reason,
            settings.SITE_URL + alarm.get_absolute_url(),
            "To get no more mail from this alarm, open this link; you need not sign in:",
            alarms_links.unsubscribe_link(endpoint),
        )
    return len(endpoints)
