"""Each write to usage alarms as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accounts.models import Organization
from billing import services_alarms as alarms
from billing.models import Alarm
from portal.clouds.base import EndpointState
from tests.billing.alarms_world import make_alarm, make_endpoint
from tests.factories import make_configuration
from tests.pages.world import Tenants


def _standing(organization: Organization, **fields: Any) -> Alarm:
    return make_alarm(make_configuration(organization), **fields)


def _only(organization: Organization) -> Organization:
    Alarm.objects.all().delete()
    _standing(organization)
    return organization


NEW: dict[str, Any] = {"name": "new", "topic": "t", "threshold": 8, "period_minutes": 5, "emails": ["a@example.org"]}
WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "billing.services_alarms.create_alarm": (
        "alarm.create",
        lambda t, by: alarms.create_alarm(**by, configuration=t.configuration, **NEW),
    ),
    "billing.services_alarms.update_alarm": (
        "alarm.update",
        lambda t, by: alarms.update_alarm(**by, alarm=t.alarm_of(t.acme), name="other", threshold=9, period_minutes=15),
    ),
    "billing.services_alarms.retry_alarm": (
        "alarm.retry",
        lambda t, by: alarms.retry_alarm(**by, alarm=_standing(t.acme, status="FAILED", failure_code="Denied")),
    ),
    "billing.services_alarms.delete_alarm": (
        "alarm.delete",
        lambda t, by: alarms.delete_alarm(**by, alarm=t.alarm_of(t.acme)),
    ),
    "billing.services_alarms.delete_alarms_of": (
        "alarm.delete",
        lambda t, by: alarms.delete_alarms_of(**by, organization=_only(t.acme)),
    ),
    "billing.services_alarms.add_endpoints": (
        "alarm.add_endpoints",
        lambda t, by: alarms.add_endpoints(**by, alarm=t.alarm_of(t.acme), emails=["more@example.org"]),
    ),
    "billing.services_alarms.resend_confirmation": (
        "alarm.resend",
        lambda t, by: alarms.resend_confirmation(**by, endpoint=t.endpoint_of(t.acme)),
    ),
    "billing.services_alarms.remove_endpoint": (
        "alarm.remove_endpoint",
        lambda t, by: alarms.remove_endpoint(**by, endpoint=t.endpoint_of(t.acme)),
    ),
    "billing.services_alarms.confirm_endpoint": (
        "alarm.confirm",
        lambda t, by: alarms.confirm_endpoint(**by, endpoint=t.endpoint_of(t.acme)),
    ),
    "billing.services_alarms.unsubscribe_endpoint": (
        "alarm.unsubscribe",
        lambda t, by: alarms.unsubscribe_endpoint(
            **by, endpoint=make_endpoint(t.alarm_of(t.acme), EndpointState.CONFIRMED)
        ),
    ),
}

MAKES_ITS_OWN = ("retry_alarm", "delete_alarms_of", "unsubscribe_endpoint")
