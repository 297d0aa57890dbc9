"""What the links in the mails of alarms open, for people who need no account. Looking changes nothing: mail scanners
open links, too."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.access import public_view
from accounts.activation import visitor
from billing import services_alarms
from billing.alarms_links import endpoint_to_confirm, endpoint_to_unsubscribe
from portal.errors import client_address


@public_view(("GET", "HEAD", "POST"))
def alarm_confirm(request: HttpRequest, confirm_key: str) -> HttpResponse:
    """Be told what an alarm says."""
    endpoint = endpoint_to_confirm(confirm_key)
    if request.method == "POST":
        by = visitor(endpoint.address, client_address(request))
        services_alarms.confirm_endpoint(actor=by, endpoint=endpoint)
        return redirect(request.path)
    return render(request, "billing/alarm_confirm.html", {"endpoint": endpoint, "alarm": endpoint.alarm})


@public_view(("GET", "HEAD", "POST"))
def alarm_unsubscribe(request: HttpRequest, unsubscribe_key: str) -> HttpResponse:
    """Be told nothing any more."""
    endpoint = endpoint_to_unsubscribe(unsubscribe_key)
    if request.method == "POST":
        by = visitor(endpoint.address, client_address(request))
        services_alarms.unsubscribe_endpoint(actor=by, endpoint=endpoint)
        return redirect(request.path)
    return render(request, "billing/alarm_unsubscribe.html", {"endpoint": endpoint, "alarm": endpoint.alarm})
