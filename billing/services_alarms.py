"""Every write to usage alarms. What an alarm says is written by ``billing.alarms_reconcile``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, limits
from accounts.audit import Actor
from accounts.models import Organization
from billing import alarms_letters
from billing.alarms import alarms_of
from billing.models import Alarm, AlarmEndpoint, AlarmStatus
from portal import events, queue
from portal.clouds.base import EndpointState, Event, Target
from portal.errors import UserError
from portal.models import record_event
from workspaces.models import CloudConfiguration

MOST_ALARMS = 20
"""Of one configuration."""

MOST_ENDPOINTS = 20
"""Of one alarm."""

SETTINGS = ("name", "threshold", "period_minutes")
"""What can be changed afterwards."""


@transaction.atomic
def create_alarm(
    *,
    actor: Actor,
    configuration: CloudConfiguration,
    name: str,
    topic: str,
    threshold: int,
    period_minutes: int,
    emails: Sequence[str],
) -> Alarm:
    """An alarm that is to be made, with endpoints that are asked to confirm.

    Raises UserError: ConfigurationGone, NameTaken, TooManyAlarms, TooManyEndpoints, AskedTooOften.
    """
    locked = CloudConfiguration.objects.select_for_update().filter(pk=configuration.pk, deleted_at=None).first()
    if locked is None:
        raise UserError("ConfigurationGone", "The cloud configuration was deleted meanwhile.", "Choose another one.")
    if Alarm.objects.standing_on(locked).count() >= MOST_ALARMS:
        raise UserError("TooManyAlarms", f"{locked} has {MOST_ALARMS} alarms already.", "Change or delete one of them.")
    alarm = Alarm(configuration=locked, name=name, topic=topic, threshold=threshold, period_minutes=period_minutes)
    alarm.created_by = actor.user
    _save_name(alarm, force_insert=True)
    _add(alarm, emails)
    state = {"topic": topic, "threshold": threshold, "period_minutes": period_minutes, "endpoints": list(emails)}
    _record(actor, "alarm.create", alarm, after=state)
    _nudge(alarm)
    return alarm


@transaction.atomic
def update_alarm(*, actor: Actor, alarm: Alarm, name: str, threshold: int, period_minutes: int) -> None:
    """Another name, threshold or period. What it says is found out anew. Raises UserError: NameTaken, AlarmGone."""
    row = _locked(alarm)
    before = {field: getattr(row, field) for field in SETTINGS}
    after = {"name": name, "threshold": threshold, "period_minutes": period_minutes}
    if before == after:
        return
    row.name, row.threshold, row.period_minutes, row.observed_at = name, threshold, period_minutes, None
    _wish(row)
    _save_name(row, update_fields=[*SETTINGS, "observed_at", *WISH])
    _record(actor, "alarm.update", row, before=before, after=after)
    _nudge(row)


@transaction.atomic
def retry_alarm(*, actor: Actor, alarm: Alarm) -> None:
    """Try again what failed. Raises UserError: AlarmGone."""
    row = _locked(alarm)
    if row.status != AlarmStatus.FAILED:
        return
    failed = row.failure_code
    _wish(row)
    row.save(update_fields=WISH)
    _record(actor, "alarm.retry", row, code=failed)
    _nudge(row)


@transaction.atomic
def delete_alarm(*, actor: Actor, alarm: Alarm) -> None:
    """Ask for its removal with all that was made for it."""
    row = Alarm.objects.select_for_update().get(pk=alarm.pk)
    if row.target == Target.TERMINATED:
        return
    row.target = Target.TERMINATED
    _wish(row)
    row.save(update_fields=["target", *WISH])
    _record(actor, "alarm.delete", row, before={"topic": row.topic, "threshold": row.threshold})
    _nudge(row)


@transaction.atomic
def delete_alarms_of(*, actor: Actor, organization: Organization) -> None:
    """An organization goes, and its alarms with it."""
    for alarm in Alarm.objects.in_organization(organization):
        delete_alarm(actor=actor, alarm=alarm)


@transaction.atomic
def add_endpoints(*, actor: Actor, alarm: Alarm, emails: Sequence[str]) -> None:
    """Ask more addresses. Those that are there already are left out.

    Raises UserError: AlarmGone, ForeignTopic, TooManyEndpoints, AskedTooOften.
    """
    row = _locked(alarm)
    if not row.own_topic:
        hint = "Subscribe to the topic in the AWS console."
        raise UserError("ForeignTopic", f"{row} tells a topic that was not made for it.", hint)
    there = set(row.endpoints.values_list("address", flat=True))
    fresh = [address for address in emails if address not in there]
    if not fresh:
        return
    _add(row, fresh)
    _wish(row)
    row.save(update_fields=WISH)
    _record(actor, "alarm.add_endpoints", row, endpoints=fresh)
    _nudge(row)


@transaction.atomic
def resend_confirmation(*, actor: Actor, endpoint: AlarmEndpoint) -> None:
    """Ask an address again that has not confirmed or does not want mail any more.

    Raises UserError: AlarmGone, EndpointGone, EndpointConfirmed, AskedTooOften.
    """
    alarm = _locked(endpoint.alarm)
    row = _endpoint(alarm, endpoint)
    if row.state == EndpointState.CONFIRMED:
        raise UserError("EndpointConfirmed", f"{row.address} has confirmed already.", "It gets the alarm's mail.")
    row.state, row.asked, row.asked_at = EndpointState.PENDING, row.asked + 1, timezone.now()
    row.save(update_fields=["state", "asked", "asked_at"])
    _ask(alarm, row)
    _wish(alarm)
    alarm.save(update_fields=WISH)
    _record(actor, "alarm.resend", alarm, endpoint=row.address)
    _nudge(alarm)


@transaction.atomic
def remove_endpoint(*, actor: Actor, endpoint: AlarmEndpoint) -> None:
    """Tell an address nothing any more. Raises UserError: AlarmGone, EndpointGone."""
    alarm = _locked(endpoint.alarm)
    row = _endpoint(alarm, endpoint)
    state = row.state
    row.delete()
    _wish(alarm)
    alarm.save(update_fields=WISH)
    _record(actor, "alarm.remove_endpoint", alarm, endpoint=row.address, was=state)
    _nudge(alarm)


@transaction.atomic
def confirm_endpoint(*, actor: Actor, endpoint: AlarmEndpoint) -> bool:
    """An address wants to be told; False where it does not wait for an answer. Raises UserError: AlarmGone,
    EndpointGone."""
    return _answer(actor, endpoint, "alarm.confirm", EndpointState.CONFIRMED, {EndpointState.PENDING})


@transaction.atomic
def unsubscribe_endpoint(*, actor: Actor, endpoint: AlarmEndpoint) -> bool:
    """An address wants no more mail; False where it gets none. Raises UserError: AlarmGone, EndpointGone."""
    wanted = {EndpointState.PENDING, EndpointState.CONFIRMED}
    return _answer(actor, endpoint, "alarm.unsubscribe", EndpointState.UNSUBSCRIBED, wanted)


WISH = ["revision", "attempts", "due_at", "failure_code", "failure_message", "failure_hint"]
"""What a changed wish changes."""


def _wish(alarm: Alarm) -> None:
    alarm.revision += 1
    alarm.attempts = 0
    alarm.due_at = timezone.now()
    alarm.failure_code = alarm.failure_message = alarm.failure_hint = ""


def _answer(
    actor: Actor, endpoint: AlarmEndpoint, verb: str, state: EndpointState, instead_of: set[EndpointState]
) -> bool:
    alarm = _locked(endpoint.alarm)
    row = _endpoint(alarm, endpoint)
    before = row.state
    if before not in instead_of:
        return False
    row.state = state
    row.save(update_fields=["state"])
    record_event(alarm.pk, Event("endpoints", f"{row.address} is {state.lower()}."))
    _record(actor, verb, alarm, before={"state": before}, after={"state": state.value}, endpoint=row.address)
    events.notify(alarm.configuration.organization_id, f"alarm-{alarm.pk}")
    return True


def _add(alarm: Alarm, emails: Sequence[str]) -> None:
    if alarm.endpoints.count() + len(emails) > MOST_ENDPOINTS:
        raise UserError(
            "TooManyEndpoints",
            f"An alarm has at most {MOST_ENDPOINTS} e-mail endpoints.",
            "Use the address of a mailing list for more people.",
            status=422,
        )
    for address in emails:
        _ask(alarm, AlarmEndpoint.objects.create(alarm=alarm, address=address))


def _ask(alarm: Alarm, endpoint: AlarmEndpoint) -> None:
    """Who asks addresses of others again and again is a nuisance, whichever alarm they use for it."""
    if not (
        limits.take("alarm_endpoint", endpoint.address)
        and limits.take("alarm_endpoints", str(alarm.configuration.organization_id))
    ):
        raise UserError(
            "AskedTooOften",
            f"{endpoint.address} was asked too often today, or this organization has asked too many addresses.",
            "Look for the last mail, also among the junk, or try again tomorrow.",
            status=429,
        )
    if alarms_of(alarm.configuration).portal_sends:
        alarms_letters.ask(alarm=alarm, endpoint=endpoint)


def _locked(alarm: Alarm) -> Alarm:
    rows = Alarm.objects.select_for_update(of=("self",)).select_related("configuration__organization")
    row = rows.get(pk=alarm.pk)
    if row.target == Target.TERMINATED:
        raise UserError("AlarmGone", f"The alarm {row.name} was deleted meanwhile.", "Make another one.")
    return row


def _endpoint(alarm: Alarm, endpoint: AlarmEndpoint) -> AlarmEndpoint:
    row = AlarmEndpoint.objects.filter(alarm=alarm, pk=endpoint.pk).first()
    if row is None:
        raise UserError("EndpointGone", f"{endpoint.address} was removed meanwhile.", "Reload the page.")
    return row


def _save_name(alarm: Alarm, **how: Any) -> None:
    try:
        with transaction.atomic():
            alarm.save(**how)
    except IntegrityError:
        raise UserError("NameTaken", "An alarm of this name exists.", "Choose another name.") from None


def _record(actor: Actor, verb: str, alarm: Alarm, **detail: Any) -> None:
    configuration = alarm.configuration
    audit.record(
        actor, verb, alarm, organization=configuration.organization, cloud_configuration=configuration.name, **detail
    )


def _nudge(alarm: Alarm) -> None:
    queue.enqueue("alarm", alarm.pk)
    events.notify(alarm.configuration.organization_id, f"alarm-{alarm.pk}")
