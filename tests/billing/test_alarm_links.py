"""The links in the mails of alarms: for one purpose each, for people who are not signed in."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from billing import services_alarms
from billing.alarms_links import confirm_key, unsubscribe_key
from billing.alarms_reconcile import record_observation
from billing.models import Alarm, AlarmEndpoint
from portal.clouds.base import AlarmObservation, AlarmState, EndpointState
from tests.billing.alarms_world import make_alarm, make_endpoint
from tests.factories import actor
from tests.fakes import Clock
from tests.mailbox import delivered, link_in_mail

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(clock: Clock) -> AlarmEndpoint:
    """Asked by mail."""
    cache.clear()
    alarm = make_alarm(name="Big bill")
    services_alarms.add_endpoints(actor=actor(), alarm=alarm, emails=["ada@example.org"])
    Alarm.objects.update(due_at=None)
    return AlarmEndpoint.objects.get()


def state() -> str:
    return AlarmEndpoint.objects.get().state


def test_looking_changes_nothing_and_confirming_does(client: Client, endpoint: AlarmEndpoint) -> None:
    link = link_in_mail("ada@example.org")
    page = client.get(link)
    assert "Be told about Big bill?" in page.content.decode()
    assert (client.head(link).status_code, state()) == (200, "PENDING")
    answer = client.post(link)
    assert (answer.status_code, state()) == (302, "CONFIRMED")
    assert "You are told from now on" in client.get(answer["Location"]).content.decode()
    event = AuditEvent.objects.get(verb="alarm.confirm")
    assert (event.actor_kind, event.actor_label) == ("visitor", "ada@example.org (not confirmed)")
    assert (event.object_label, event.address) == ("Big bill", "127.0.0.1")
    client.post(link)
    assert AuditEvent.objects.filter(verb="alarm.confirm").count() == 1


def test_a_form_of_another_site_does_not_confirm(endpoint: AlarmEndpoint) -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(link_in_mail()).status_code == 403
    assert state() == "PENDING"


def test_each_mail_of_an_alarm_can_be_the_last(client: Client, endpoint: AlarmEndpoint, clock: Clock) -> None:
    client.post(link_in_mail())
    alarm = Alarm.objects.get()
    record_observation(alarm, AlarmObservation(AlarmState.ALARM, "Because.", clock()), portal_sends=True)
    link = re.findall(r"https?://[^/\s]+(/\S+)", str(delivered()[-1].body))[-1]
    assert "No more mail from Big bill?" in client.get(link).content.decode()
    assert state() == "CONFIRMED"
    assert client.post(link).status_code == 302
    assert state() == "UNSUBSCRIBED"
    assert "You get no more mail" in client.get(link).content.decode()
    record_observation(alarm, AlarmObservation(AlarmState.OK, "Over.", clock.move(minutes=9)), portal_sends=True)
    assert len(delivered()) == 2
    assert AuditEvent.objects.get(verb="alarm.unsubscribe").detail["before"] == {"state": "CONFIRMED"}


def test_a_link_to_leave_still_works_years_later(client: Client, endpoint: AlarmEndpoint, clock: Clock) -> None:
    clock.move(days=2000)
    client.post(reverse("billing:alarm_unsubscribe", args=[unsubscribe_key(endpoint)]))
    assert state() == "UNSUBSCRIBED"


def test_the_link_to_confirm_ends(client: Client, endpoint: AlarmEndpoint, clock: Clock) -> None:
    link = link_in_mail()
    clock.move(days=3, minutes=1)
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 410
        assert "AlarmLinkExpired" in answer.content.decode()
    services_alarms.resend_confirmation(actor=actor(), endpoint=endpoint)
    client.post(link_in_mail())
    assert state() == "CONFIRMED"


def test_who_has_left_is_not_brought_back_by_an_old_link(client: Client, endpoint: AlarmEndpoint) -> None:
    link = link_in_mail()
    services_alarms.unsubscribe_endpoint(actor=actor(), endpoint=endpoint)
    client.post(link)
    assert state() == "UNSUBSCRIBED"
    assert "You get no mail from this alarm" in client.get(link).content.decode()


def test_a_key_opens_nothing_but_its_own(client: Client, endpoint: AlarmEndpoint) -> None:
    """Not the other purpose, not another endpoint, not cut."""
    other = make_endpoint(endpoint.alarm, EndpointState.PENDING)
    confirm, leave = confirm_key(endpoint), unsubscribe_key(endpoint)
    signature = confirm.rpartition(":")[2]
    swapped = f"{confirm_key(other).rpartition(':')[0]}:{signature}"
    for name, key in (
        ("alarm_confirm", leave),
        ("alarm_unsubscribe", confirm),
        ("alarm_confirm", confirm[:-1]),
        ("alarm_confirm", swapped),
        ("alarm_confirm", "x"),
        ("alarm_unsubscribe", "\u0000"),
    ):
        address = reverse(f"billing:{name}", args=[key])
        for answer in (client.get(address), client.post(address)):
            assert answer.status_code == 404
    assert set(AlarmEndpoint.objects.values_list("state", flat=True)) == {"PENDING"}


def test_what_is_gone_says_so(client: Client, endpoint: AlarmEndpoint) -> None:
    gone = make_endpoint(make_alarm(target="TERMINATED"))
    addresses = [reverse("billing:alarm_unsubscribe", args=[unsubscribe_key(gone)]), link_in_mail()]
    services_alarms.remove_endpoint(actor=actor(), endpoint=endpoint)
    services_alarms.add_endpoints(actor=actor(), alarm=endpoint.alarm, emails=[endpoint.address])
    for address in addresses:
        answer = client.post(address)
        assert answer.status_code == 410
        assert "AlarmLinkGone" in answer.content.decode()
    assert AlarmEndpoint.objects.get(alarm=endpoint.alarm).state == "PENDING", "added again, it is asked again"
