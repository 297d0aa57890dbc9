"""The pages of usage alarms. What the links in their mails open is in ``views_alarm_links``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from billing import alarms_plot, services_alarms
from billing.alarms import TOPIC, WATCHED, Suggestion, alarms_of, free_name, suggestion, topics_of
from billing.forms_alarms import AlarmEditForm, AlarmForm, EndpointsForm
from billing.models import Alarm, AlarmEndpoint
from portal.clouds.base import CloudError, EndpointState
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.models import DeploymentEvent
from workspaces.models import CloudConfiguration

BESIDE = {"NameTaken": "name", "TooManyEndpoints": "emails", "AskedTooOften": "emails"}
"""Beside which field a refusal stands."""


@organization_view(Perm.ORG_VIEW)
def alarms(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """The alarms of a cloud configuration, and what they watch."""
    found = find_configuration(organization, configuration)
    rows = Alarm.objects.in_organization(organization).filter(configuration=found).prefetch_related("endpoints")
    lines = [{"alarm": row, "confirmed": _confirmed(row), "endpoints": len(row.endpoints.all())} for row in rows]
    context = {
        "nav": "configurations",
        "configuration": found,
        "lines": lines,
        "under_way": any(not row.settled for row in rows),
        **_metric(request, found, None),
    }
    return render(request, "billing/alarms.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def alarm_new(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """Make an alarm."""
    found = find_configuration(organization, configuration)
    suggested = _suggestion(found)
    initial = {
        "name": free_name(found),
        "topic": TOPIC,
        "threshold": suggested.threshold,
        "emails": request.user.email,
    }
    topics = topics_of(alarms_of(found))
    form = AlarmForm(posted(request), initial=initial, reason=suggested.reason, topics=topics)
    if request.method == "POST" and form.is_valid():
        try:
            row = services_alarms.create_alarm(actor=actor_of(request), configuration=found, **form.cleaned_data)
        except UserError as error:
            form.add_error(BESIDE.get(error.code), f"{error.message} {error.hint}")
        else:
            asked = "The endpoints got a mail in which they can confirm."
            messages.success(request, asked if row.own_topic else "The alarm is being made.")
            return done(request, "billing:alarm", organization.pk, found.pk, row.pk)
    context = {"configuration": found, **_metric(request, found, None)}
    return form_response(request, "billing/alarm_new.html", form, nav="configurations", **context)


@organization_view(Perm.ORG_VIEW)
def alarm(request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID) -> HttpResponse:
    """What an alarm says and said, what it watches, and whom it tells."""
    found = find_alarm(organization, configuration, alarm)
    context = {
        "nav": "configurations",
        "configuration": found.configuration,
        "alarm": found,
        "endpoints": found.endpoints.all(),
        "confirmed": _confirmed(found),
        "form": EndpointsForm(),
        "history": found.history.order_by("-number")[:20],
        "events": DeploymentEvent.objects.of(found.pk)[:50],
        **_metric(request, found.configuration, found.threshold),
    }
    return render(request, "billing/alarm.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def alarm_edit(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID
) -> HttpResponse:
    """Another name, threshold or period."""
    found = find_alarm(organization, configuration, alarm)
    form = AlarmEditForm(posted(request), initial={name: getattr(found, name) for name in services_alarms.SETTINGS})
    form.fields["threshold"].help_text = _suggestion(found.configuration).reason
    if request.method == "POST" and form.is_valid():
        try:
            services_alarms.update_alarm(actor=actor_of(request), alarm=found, **form.cleaned_data)
        except UserError as error:
            form.add_error(BESIDE.get(error.code), f"{error.message} {error.hint}")
        else:
            messages.success(request, "Saved.")
            return _to(request, found)
    context = {"configuration": found.configuration, "alarm": found}
    return form_response(request, "billing/alarm_edit.html", form, nav="configurations", **context)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def alarm_retry(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID
) -> HttpResponse:
    """Try again what failed."""
    found = find_alarm(organization, configuration, alarm)
    services_alarms.retry_alarm(actor=actor_of(request), alarm=found)
    return _to(request, found)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def alarm_delete(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID
) -> HttpResponse:
    """Remove an alarm."""
    found = find_alarm(organization, configuration, alarm)
    services_alarms.delete_alarm(actor=actor_of(request), alarm=found)
    messages.success(request, f"The alarm {found.name} is being removed.")
    return done(request, "billing:alarms", organization.pk, found.configuration_id)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def endpoint_add(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID
) -> HttpResponse:
    """More endpoints."""
    found = find_alarm(organization, configuration, alarm)
    form = EndpointsForm(request.POST)
    if not form.is_valid():
        wrong = " ".join(str(error) for errors in form.errors.values() for error in errors)
        raise UserError("AddressesNotUnderstood", wrong, "Go back and correct the addresses.", status=422)
    services_alarms.add_endpoints(actor=actor_of(request), alarm=found, emails=form.cleaned_data["emails"])
    messages.success(request, "The new endpoints got a mail in which they can confirm.")
    return _to(request, found)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def endpoint_resend(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID, endpoint: UUID
) -> HttpResponse:
    """Ask an endpoint again."""
    found = find_alarm(organization, configuration, alarm)
    row = find_endpoint(found, endpoint)
    services_alarms.resend_confirmation(actor=actor_of(request), endpoint=row)
    messages.success(request, f"{row.address} got another mail.")
    return _to(request, found)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def endpoint_remove(
    request: OrganizationRequest, organization: Organization, configuration: UUID, alarm: UUID, endpoint: UUID
) -> HttpResponse:
    """Tell an endpoint nothing any more."""
    found = find_alarm(organization, configuration, alarm)
    row = find_endpoint(found, endpoint)
    services_alarms.remove_endpoint(actor=actor_of(request), endpoint=row)
    messages.success(request, f"{row.address} is told nothing any more.")
    return _to(request, found)


def find_configuration(organization: Organization, configuration: UUID) -> CloudConfiguration:
    """One of the organization's that can have alarms; 404 otherwise."""
    rows = CloudConfiguration.objects.in_organization(organization).ready().filter(provider__in=WATCHED)
    return get_object_or_404(rows, pk=configuration)


def find_alarm(organization: Organization, configuration: UUID, alarm: UUID) -> Alarm:
    """One of a configuration of the organization; 404 otherwise."""
    rows = Alarm.objects.in_organization(organization).select_related("configuration")
    return get_object_or_404(rows.prefetch_related("endpoints"), configuration=configuration, pk=alarm)


def find_endpoint(alarm: Alarm, endpoint: UUID) -> AlarmEndpoint:
    """One of the alarm's; 404 otherwise."""
    return get_object_or_404(alarm.endpoints.select_related("alarm"), pk=endpoint)


def _to(request: OrganizationRequest, alarm: Alarm) -> HttpResponse:
    return done(request, "billing:alarm", request.organization.pk, alarm.configuration_id, alarm.pk)


def _confirmed(alarm: Alarm) -> int:
    return sum(endpoint.state == EndpointState.CONFIRMED for endpoint in alarm.endpoints.all())


def _suggestion(configuration: CloudConfiguration) -> Suggestion:
    """Without an answer of the cloud, the form still opens."""
    try:
        return suggestion(alarms_of(configuration), timezone.now())
    except CloudError as error:
        return Suggestion(None, f"The history of the metric could not be read: {error.message}")


def _metric(request: OrganizationRequest, configuration: CloudConfiguration, threshold: int | None) -> dict[str, Any]:
    """The plot, or why there is none."""
    shown = alarms_plot.RANGES.get(request.GET.get("range", ""), alarms_plot.DEFAULT)
    context: dict[str, Any] = {"ranges": alarms_plot.RANGES.values(), "range": shown}
    try:
        return {**context, "plot": alarms_plot.plot(alarms_of(configuration), shown, threshold, timezone.now())}
    except CloudError as error:
        return {**context, "metric_error": error}
